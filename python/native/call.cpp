#include "python/native/call.h"

#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace yopo_python {
namespace {

constexpr auto signals_every = std::chrono::milliseconds(50);

std::mutex g_mutex;
std::vector<Call*> g_calls;  // those that work
thread_local Call* t_call = nullptr;

/// The call that this thread works for. Threads that the library starts end before their call does; whose they are is
/// known while there is one call.
Call* call_here() {
  if (t_call) return t_call;
  const std::lock_guard lock(g_mutex);
  return g_calls.size() == 1 ? g_calls.front() : nullptr;
}

/// A thread that takes no signals, nor do those that it starts.
std::thread deaf_thread(std::function<void()> act) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread(std::move(act));
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace

Call::Call(nb::object listener) : listener_(std::move(listener)) {
  const std::lock_guard lock(g_mutex);
  g_calls.push_back(this);
}

Call::~Call() {
  const std::lock_guard lock(g_mutex);
  g_calls.erase(std::find(g_calls.begin(), g_calls.end(), this));
}

void Call::end() {
  if (!failure_) failure_ = std::current_exception();
  stop_ = true;
}

void Call::work(const std::function<void()>& act) {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::exception_ptr thrown;
  std::thread thread = deaf_thread([&] {
    t_call = this;
    try {
      act();
    } catch (...) {
      thrown = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_one();
  });
  {
    const nb::gil_scoped_release released;
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, signals_every, [&] { return done; })) {
      lock.unlock();
      {
        const nb::gil_scoped_acquire held;
        if (PyErr_CheckSignals() != 0) {
          try {
            throw nb::python_error();  // takes the pending error
          } catch (...) {
            end();
          }
        }
      }
      lock.lock();
    }
    lock.unlock();
    thread.join();
  }
  if (failure_) std::rethrow_exception(failure_);
  if (thrown) std::rethrow_exception(thrown);
}

void listen() {
  yopo::Listener listener;
  listener.note = [](const std::string& line) {
    if (Call* call = call_here()) call->tell("note", line.c_str());
  };
  listener.warning = [](const std::string& line) {
    if (Call* call = call_here())
      call->tell("warning", line.c_str());
    else
      std::fprintf(stderr, "yopo: %s\n", line.c_str());
  };
  listener.progress = [](const yopo::WorkReport& report) {
    if (Call* call = call_here())
      call->tell("progress", report.what.c_str(), report.unit.c_str(), report.done, report.total, report.seconds,
                 report.finished);
  };
  yopo::set_listener(std::move(listener));
}

}  // namespace yopo_python
