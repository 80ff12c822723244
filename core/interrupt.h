// The user's wish to stop: a signal, heard by a thread of its own, that work looks at between its steps.
#pragma once

#include <functional>

namespace yopo {

/// From now on SIGINT and SIGTERM, and SIGHUP unless it is ignored (nohup), reach neither this thread nor any that it
/// starts; they wait until catch_interrupts(). Calls nothing but the kernel, so it may come before everything else.
void block_interrupts();

/// Blocks them, and starts the thread that waits for them: the first sets the flag, the second ends the process at once
/// with exit code 130. A handler would run on the stack of whatever thread the kernel picks, in the middle of its
/// arithmetic; so no thread that computes gets a signal. For programs: a library leaves signals to its caller.
/// UserError when the thread cannot be started.
void catch_interrupts();

bool interrupted();
/// Throws Interrupted if the flag is set, or if this thread's StopWish says so.
void check_interrupt();

/// Somebody else who may wish to stop what this thread does, as long as it lives: a caller of the library. Asked often,
/// so it should be quick; must not throw. An empty one never wishes.
class StopWish {
 public:
  explicit StopWish(std::function<bool()> wish);
  ~StopWish();
  StopWish(const StopWish&) = delete;
  StopWish& operator=(const StopWish&) = delete;

 private:
  std::function<bool()> wish_;
  const std::function<bool()>* before_;
};

}  // namespace yopo
