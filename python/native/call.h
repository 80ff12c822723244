// A call of the library that takes a while: without the GIL, with progress for a Python object, ended by Ctrl-C.
#pragma once

#include <nanobind/nanobind.h>
#include <yopo/yopo.h>

#include <atomic>
#include <exception>
#include <functional>
#include <optional>

namespace yopo_python {

namespace nb = nanobind;

/// From now on what the library says goes to the listener of the call that works; once, at import.
void listen();

/// One call. The work is done in a thread that takes no signals: a handler's frame must not come onto a stack in the
/// middle of arithmetic (core/interrupt.h). The thread that called waits, and lets Python answer signals.
class Call {
 public:
  /// `listener`: an object with note(line), warning(line) and progress(what, unit, done, total, seconds, finished), or
  /// None.
  explicit Call(nb::object listener);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// What `act` gives, to be called with the GIL. Throws what `act` or the listener threw, or what Python's handler
  /// did, as KeyboardInterrupt; the work has ended by then.
  template <typename Act>
  auto run(Act act) {
    std::optional<decltype(act(yopo::Stop()))> result;
    work([&] { result.emplace(act([this] { return stop_.load(); })); });
    return std::move(*result);
  }

  /// Calls a method of the listener, from any thread of this call. What it throws ends the work at its next step.
  template <typename... Args>
  void tell(const char* method, Args... args) noexcept {
    const nb::gil_scoped_acquire held;
    if (failure_ || listener_.is_none()) return;
    try {
      listener_.attr(method)(args...);
    } catch (...) {
      end();
    }
  }

 private:
  void work(const std::function<void()>& act);
  void end();  // because of the exception that is being handled

  nb::object listener_;
  std::exception_ptr failure_;  // under the GIL
  std::atomic<bool> stop_ = false;
};

}  // namespace yopo_python
