// Stacks that the threads of a block run on, and the switch between them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#if defined(__x86_64__) && !defined(YOPO_SHIM_UCONTEXT)
#define SHIM_OWN_SWITCH 1
#else
#define SHIM_OWN_SWITCH 0
#include <ucontext.h>
#endif

namespace shim {

/// A suspended or running stack. Not bound to an OS thread: whoever launches goes on with what earlier launches left.
struct Fiber {
#if SHIM_OWN_SWITCH
  void* stack_pointer = nullptr;  // where a suspended fiber's registers lie
#else
  ucontext_t context;
#endif
  const void* bottom = nullptr;  // lowest address of the usable stack, as AddressSanitizer counts
  size_t bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's own
};

/// Stacks for one kind of entry function, made as needed and kept for the next block.
class FiberPool {
 public:
  /// `entry` runs on every new fiber and never returns.
  explicit FiberPool(void (*entry)()) : entry_(entry) {}
  Fiber* take();
  void give_back(Fiber* fiber) { idle_.push_back(fiber); }

 private:
  void (*entry_)();
  std::vector<std::unique_ptr<Fiber>> all_;
  std::vector<Fiber*> idle_;
};

/// Suspends `from`, which is running, and resumes `to`; returns when somebody switches back.
void switch_fiber(Fiber& from, Fiber& to);
/// The first thing that a new fiber's entry function calls.
void entered_fiber();

}  // namespace shim
