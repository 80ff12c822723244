// The bookkeeping of one block: which thread waits for what, and when a barrier or a warp's collective is complete.
#pragma once

#include <array>
#include <deque>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/cuda_emulator/block.h"
#include "tests/support/cuda_emulator/fibers.h"

namespace shim {

enum class ThreadState : uint8_t { fresh, running, waiting, woken, returned };

struct Thread {
  Fiber* fiber = nullptr;
  ThreadState state = ThreadState::fresh;
  const Collective* collective = nullptr;  // what it waits for; null: the block's barrier
  unsigned mask = 0;                       // of the collective
};

/// Lanes of one warp that wait at one collective with one mask.
struct Meeting {
  const Collective* collective = nullptr;
  unsigned mask = 0, arrived = 0;
  std::array<void*, 32> arguments{};
};

struct Warp {
  unsigned living = 0;  // lanes that have not returned
  std::vector<Meeting> meetings;
};

struct Block {
  const std::function<void()>* thread = nullptr;
  LaunchShape shape;
  unsigned long long launch = 0;
  bool reverse = false;  // the order in which threads run
  unsigned char* shared = nullptr;
  std::vector<uint3> coordinates;  // [threads of a block]

  unsigned count = 0, started = 0, living = 0, current = 0;  // threads
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::deque<unsigned> ready;  // woken threads in the order in which they go on
  std::exception_ptr failure;

  unsigned at_barrier = 0;  // threads that wait at the barrier
  BlockSync sync_kind = BlockSync::plain;
  std::source_location sync_where;
  int sync_count = 0;   // predicates that were not zero
  int sync_result = 0;  // of the latest barrier

  /// Prepares for the blocks of a launch.
  void begin(const std::function<void()>& thread, const LaunchShape& shape, unsigned long long launch,
             unsigned char* shared);
  /// Prepares for the next block of the launch.
  void reset();
  /// The current thread comes to the barrier. True: it was the last, the others are woken and it goes on.
  bool arrive(BlockSync kind, int predicate, const std::source_location& where);
  /// The current thread comes to a collective of its warp. True: it was the last.
  bool arrive(const Collective& collective, unsigned mask, void* argument);
  /// A thread has returned: who waited only for it goes on.
  void on_return(unsigned index);

  std::string launch_name() const;
  /// Who waits for what, when nobody can go on.
  std::string deadlock() const;

 private:
  void wake(unsigned index);
  /// Wakes threads [first, first + size) that `waits` names, in the order in which threads run.
  template <typename Waits>
  void wake_all(unsigned first, unsigned size, const Waits& waits);
  void wait(const Collective* collective, unsigned mask);
  void open_barrier();
  bool complete(unsigned warp, size_t meeting, unsigned except);
};

}  // namespace shim
