// One block of a kernel: its threads are fibers that run in turn, each until it waits for others or returns.
#pragma once

#include <functional>
#include <string>

#include "shim_device.h"

namespace shim {

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;
};

/// Runs every block of a launch, one after another. `thread` is the kernel with its arguments, called once for each
/// thread. Rethrows what a thread throws, after its block has been abandoned; InternalError when a block can never
/// finish. Launches must not overlap.
void run_blocks(const std::function<void()>& thread, const LaunchShape& shape, unsigned long long launch);

/// Whether a kernel is running.
bool inside_kernel();

/// The running block's dynamic shared memory.
unsigned char* dynamic_shared();

/// Whether a block's threads start, and go on after a barrier, from the last to the first: what changes under it is a
/// race.
void run_in_reverse(bool reverse);

}  // namespace shim
