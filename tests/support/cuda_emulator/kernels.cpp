#include <map>
#include <utility>

#include "core/error.h"
#include "tests/support/cuda_emulator/block.h"
#include "tests/support/cuda_emulator/include/cuda_emulated_launch.h"
#include "tests/support/cuda_emulator/runtime.h"

namespace shim {

namespace {

unsigned long long launch_count = 0;
auto& shared_limits = *new std::map<const void*, size_t>;  // of kernels that asked for more

}  // namespace

unsigned long long launches() {
  const Guard guard(api_lock());
  return launch_count;
}

void submit_kernel(const void* kernel, std::function<void()> thread, const LaunchShape& shape, cudaStream_t stream) {
  const Guard guard(api_lock());
  if (usable() != cudaSuccess) return;
  if (machine().major * 10 + machine().minor < 75) {  // the oldest that CUDA 13 compiles for
    fail(cudaErrorNoKernelImageForDevice, fmt::format("compute capability {}.{}", machine().major, machine().minor));
    return;
  }
  if (const CUstream_st* const found = resolve(stream); found && !legacy(*found) && found->device != current_device()) {
    fail(cudaErrorInvalidResourceHandle,
         fmt::format("a stream of device {}, while the thread's is {}", found->device, current_device()));
    return;
  }
  const dim3 &g = shape.grid, &b = shape.block;
  const bool grid_fits = g.x > 0 && g.x <= 2147483647u && g.y > 0 && g.y <= 65535 && g.z > 0 && g.z <= 65535;
  const bool block_fits =
      b.x > 0 && b.x <= 1024 && b.y > 0 && b.y <= 1024 && b.z > 0 && b.z <= 64 && b.x * b.y * b.z <= 1024;
  if (!grid_fits || !block_fits) {
    fail(cudaErrorInvalidConfiguration,
         fmt::format("grid ({}, {}, {}), block ({}, {}, {})", g.x, g.y, g.z, b.x, b.y, b.z));
    return;
  }
  const auto asked = shared_limits.find(kernel);
  const size_t limit = asked == shared_limits.end() ? size_t(48) << 10 : asked->second;
  if (shape.shared_bytes > limit) {
    fail(cudaErrorInvalidValue, fmt::format("{} bytes of shared memory, {} are allowed", shape.shared_bytes, limit));
    return;
  }
  enqueue(stream, {[thread = std::move(thread), shape] { run_blocks(thread, shape, ++launch_count); }});
}

}  // namespace shim

inline namespace cuda_shim_api {

using namespace shim;

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
      size_t(value) > machine().shared_bytes_optin)
    return fail(cudaErrorInvalidValue,
                fmt::format("function attribute {} = {}, a block can have {} bytes of shared memory", int(attribute),
                            value, machine().shared_bytes_optin));
  shared_limits[function] = size_t(value);
  return cudaSuccess;
}

}  // namespace cuda_shim_api
