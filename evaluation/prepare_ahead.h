// Model inputs of coming questions, made beside the model: images are decoded while it answers.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "models/input.h"

namespace yopo {

/// Made, asked and destroyed by one thread.
class PrepareAhead {
 public:
  /// Makes the inputs 0 to `count` - 1 in this order, in up to `workers` threads, at most `ahead` of them before they
  /// are taken. `prepare` must allow calls from several threads at once.
  PrepareAhead(size_t count, size_t ahead, size_t workers, std::function<ModelInput(size_t)> prepare);
  /// Waits for what is being made; the rest is not begun.
  ~PrepareAhead();
  PrepareAhead(const PrepareAhead&) = delete;
  PrepareAhead& operator=(const PrepareAhead&) = delete;

  /// The next one, in order. Throws what making it threw. No more than `count` of them.
  ModelInput next();

  /// Seconds that making took, of all threads together; of what next() has returned.
  double seconds() const { return seconds_; }
  /// Seconds that next() waited.
  double waited() const { return waited_; }

 private:
  struct Slot {
    bool ready = false;
    ModelInput input;
    std::exception_ptr error;
    double seconds = 0;
  };
  void work();

  const std::function<ModelInput(size_t)> prepare_;
  const size_t count_;
  std::vector<Slot> slots_;  // a ring: input i lies in slot i % slots_.size()
  size_t begun_ = 0, taken_ = 0;
  bool stop_ = false;
  double seconds_ = 0, waited_ = 0;
  std::mutex mutex_;
  std::condition_variable made_, room_;
  std::vector<std::thread> workers_;
};

}  // namespace yopo
