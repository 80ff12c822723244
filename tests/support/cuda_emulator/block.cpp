#include "tests/support/cuda_emulator/block.h"

#include <array>
#include <deque>
#include <exception>
#include <utility>

#include "core/error.h"
#include "tests/support/cuda_emulator/fibers.h"
#include "tests/support/cuda_emulator/heap.h"
#include "tests/support/cuda_emulator/scheduler.h"

namespace shim {

Position position;

namespace {

/// Unwinds a thread whose block has failed elsewhere.
struct Abandoned {};

void run_threads();

// One launch at a time (streams.cpp), so one of each.
FiberPool& pool = *new FiberPool(&run_threads);
Fiber launcher;
Fiber* running = nullptr;  // the fiber that is running, or the launcher
Block& block = *new Block;

void go_to(Fiber& to) {
  Fiber& from = *running;
  running = &to;
  switch_fiber(from, to);
}

void make_current(unsigned index) {
  block.current = index;
  position.linear = index;
  position.thread = block.coordinates[index];
}

/// The fiber of the next thread that can go on, made current; of a fresh thread when none has been woken; else null.
Fiber* next_fiber() {
  if (!block.ready.empty()) {
    const unsigned index = block.ready.front();
    block.ready.pop_front();
    make_current(index);
    block.threads[index].state = ThreadState::running;
    return block.threads[index].fiber;
  }
  return block.started < block.count ? pool.take() : nullptr;
}

/// The next thread to unwind after a failure.
Fiber* next_to_abandon() {
  for (unsigned i = 0; i < block.count; ++i)
    if (block.threads[i].state == ThreadState::waiting || block.threads[i].state == ThreadState::woken) {
      make_current(i);
      block.threads[i].state = ThreadState::running;
      return block.threads[i].fiber;
    }
  return nullptr;
}

void run_one_thread(unsigned index) {
  make_current(index);
  block.threads[index].fiber = running;
  block.threads[index].state = ThreadState::running;
  try {
    (*block.thread)();
    block.threads[block.current].state = ThreadState::returned;
    block.on_return(block.current);
  } catch (const Abandoned&) {
  } catch (...) {
    if (!block.failure) block.failure = std::current_exception();
  }
  block.threads[block.current].state = ThreadState::returned;
}

/// What every fiber does: starts threads as long as none waits to go on, then lends its stack to others.
void run_threads() {
  entered_fiber();
  for (;;) {
    while (!block.failure && block.ready.empty() && block.started < block.count) {
      const unsigned nth = block.started++;
      run_one_thread(block.reverse ? block.count - 1 - nth : nth);
    }
    pool.give_back(running);
    Fiber* next = nullptr;
    if (block.failure) {
      next = next_to_abandon();
    } else if (!block.ready.empty()) {
      next = next_fiber();
    } else if (block.living > 0) {
      block.failure = std::make_exception_ptr(yopo::InternalError(block.deadlock()));
      next = next_to_abandon();
    }
    go_to(next != nullptr ? *next : launcher);
  }
}

/// Lets others run until the current thread is woken.
void suspend() {
  Fiber* next = next_fiber();
  if (next == nullptr) {
    block.failure = std::make_exception_ptr(yopo::InternalError(block.deadlock()));
    throw Abandoned{};
  }
  go_to(*next);
  if (block.failure) throw Abandoned{};
}

}  // namespace

void run_in_reverse(bool reverse) { block.reverse = reverse; }

bool inside_kernel() { return running != nullptr; }

unsigned char* dynamic_shared() { return block.shared; }

unsigned living_lanes() { return block.warps[block.current / 32].living; }

void device_error(const char* what) {
  throw yopo::InternalError(fmt::format("{}, block ({}, {}, {}), thread ({}, {}, {}): {}", block.launch_name(),
                                        position.block.x, position.block.y, position.block.z, position.thread.x,
                                        position.thread.y, position.thread.z, what));
}

int sync_block(BlockSync kind, int predicate, const std::source_location& where) {
  if (!block.arrive(kind, predicate, where)) suspend();
  return block.sync_result;
}

void meet(const Collective& collective, unsigned mask, void* argument) {
  if ((mask >> lane() & 1) == 0) device_error("a warp function whose mask does not name the calling lane");
  if (!block.arrive(collective, mask, argument)) suspend();
}

void run_blocks(const std::function<void()>& thread, const LaunchShape& shape, unsigned long long launch) {
  const HeapBlock shared = allocate_heap(shape.shared_bytes, 128);
  block.begin(thread, shape, launch, static_cast<unsigned char*>(shared.get()));
  position.block_size = shape.block;
  position.grid_size = shape.grid;
  for (unsigned z = 0; z < shape.grid.z; ++z)
    for (unsigned y = 0; y < shape.grid.y; ++y)
      for (unsigned x = 0; x < shape.grid.x; ++x) {
        position.block = {x, y, z};
        if (shape.shared_bytes > 0) std::memset(block.shared, 0xff, shape.shared_bytes);  // NaN in every floating type
        block.reset();
        running = &launcher;
        go_to(*pool.take());
        running = nullptr;
        if (block.failure) {
          const std::exception_ptr failure = std::exchange(block.failure, nullptr);
          std::rethrow_exception(failure);
        }
      }
}

}  // namespace shim
