#include "tests/support/cuda_emulator/fibers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "core/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if SHIM_OWN_SWITCH
// System V: a function keeps rbx, rbp, r12 to r15; everything else is the caller's to save. The floating-point control
// words are not touched by anything that runs on a fiber.
extern "C" void shim_switch_stack(void** save, void* load);
asm(R"(
.text
.p2align 4
.type shim_switch_stack, @function
shim_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size shim_switch_stack, .-shim_switch_stack
)");
#endif

namespace shim {

namespace {

// Room for a kernel's frames in a sanitizer build; pages that are never touched cost nothing.
constexpr size_t kStackBytes = 256 << 10;

Fiber* leaving = nullptr;  // who made the latest switch; launches are serialised

std::unique_ptr<Fiber> make_fiber(void (*entry)()) {
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  char* memory = static_cast<char*>(
      mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  yopo::ensure(memory != MAP_FAILED, "no memory for the stack of a device thread");
  yopo::ensure(mprotect(memory, page, PROT_NONE) == 0, "no guard page for the stack of a device thread");
  auto fiber = std::make_unique<Fiber>();
  fiber->bottom = memory + page;
  fiber->bytes = kStackBytes;
#if SHIM_OWN_SWITCH
  // As if `entry` had been called: a return address (none) at an address that is 8 modulo 16, below it what
  // shim_switch_stack pops: six registers and where to go.
  void** top = reinterpret_cast<void**>(memory + page + kStackBytes) - 1;
  *top-- = nullptr;
  *top = reinterpret_cast<void*>(entry);
  fiber->stack_pointer = top - 6;
#else
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = memory + page;
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, entry, 0);
#endif
  return fiber;
}

}  // namespace

Fiber* FiberPool::take() {
  if (idle_.empty()) {
    all_.push_back(make_fiber(entry_));
    return all_.back().get();
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

void entered_fiber() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &leaving->bottom, &leaving->bytes);
#endif
}

void switch_fiber(Fiber& from, Fiber& to) {
  leaving = &from;
#if defined(__SANITIZE_ADDRESS__)
  // `to` may be the launching thread's own stack: its bounds became known when it was left.
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.bytes);
#endif
#if SHIM_OWN_SWITCH
  shim_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, &leaving->bottom, &leaving->bytes);
#endif
}

}  // namespace shim
