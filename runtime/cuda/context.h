// What every part of the CUDA backend shares: the device, its one stream, errors as exceptions, scratch memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

#include "runtime/cuda/space.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {

/// Throws for anything but success: UserError where the user can help it (no memory, a driver too old, a device that is
/// gone), InternalError otherwise. `what` says what was being done.
void check(cudaError_t status, const char* what);

struct DeviceFacts {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  size_t shared_bytes_per_block = 0;  // the most that a block can ask for
  size_t total_bytes = 0;
  int index = 0;  // among those that CUDA lists
};
/// The device in use.
const DeviceFacts& device();

/// Makes GPU number `gpu` of those that CUDA lists (CUDA_VISIBLE_DEVICES chooses) the one of this process. UserError if
/// it cannot be used, and where the process has another one already.
void open_gpu(int64_t gpu);

/// All work goes to this stream. The calling thread works on the device in use from now on.
cudaStream_t stream();

/// Whether each launch is waited for, so that a failure is told of the one that failed (YOPO_CUDA_CHECK=1). What is
/// recorded cannot be waited for; it runs as it is.
bool checks_launches();
void set_checks_launches(bool on);
/// Waits for what was launched last. InternalError naming `what` and `where` if it failed.
void wait_for_launch(const std::string& what, const std::source_location& where);

/// Scratch of at least `bytes` bytes, the same for every caller: what it held is gone with the next call. Grows only,
/// and not while a recording is being made: what a recorded step needs is asked for before by running the step once.
void* scratch(size_t bytes);

/// Whether the launches now being issued are recorded rather than run.
bool recording();

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
