// What every part of the CUDA backend shares: the device, its one stream, errors as exceptions, scratch memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
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
};
/// The device in use (the first that CUDA lists; CUDA_VISIBLE_DEVICES chooses).
const DeviceFacts& device();

/// All work goes to this stream.
cudaStream_t stream();

/// Scratch of at least `bytes` bytes, the same for every caller: what it held is gone with the next call. Grows only,
/// and not while a recording is being made: what a recorded step needs is asked for before by running the step once.
void* scratch(size_t bytes);

/// Whether the launches now being issued are recorded rather than run.
bool recording();

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
