// How kernels are launched over the emulated device; what <<<grid, block, shared, stream>>> is elsewhere.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <tuple>
#include <type_traits>

#include "tests/support/cuda_emulator/block.h"

/// Declares `name`, the block's dynamic shared memory: exactly as large as the launch asked, all bytes ones at first.
#define YOPO_DYNAMIC_SHARED(name) unsigned char* const name = ::shim::dynamic_shared()

namespace shim {

/// Puts a kernel into a stream, or into the graph that is being captured. Errors of the shape (too many threads, too
/// much shared memory, a device that the kernel was not built for) are cudaGetLastError's, as with the real launch.
void submit_kernel(const void* kernel, std::function<void()> thread, const LaunchShape& shape, cudaStream_t stream);

/// Arguments are copied at the call. They must be what a device can be given: trivially copyable, at most 32,764 bytes.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            std::type_identity_t<Parameters>... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "a kernel's parameters are copied as bytes");
  static_assert((sizeof(Parameters) + ... + 0) <= 32764, "more parameters than a kernel can have");
  submit_kernel(
      reinterpret_cast<const void*>(kernel),
      [kernel, values = std::tuple<Parameters...>(arguments...)] { std::apply(kernel, values); },
      {grid, block, shared_bytes}, stream);
}

}  // namespace shim
