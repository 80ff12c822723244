// How kernels are launched: the only place that the <<< >>> syntax is needed, so that the same sources compile over the
// shim.
#pragma once

#include <cuda_runtime.h>

#include "core/error.h"
#include "runtime/cuda/context.h"

#if defined(YOPO_CUDA_SHIM)
#include <cuda_emulated_launch.h>  // shim::launch, YOPO_DYNAMIC_SHARED
#else
/// Declares `name`, the block's dynamic shared memory, aligned for any vector type.
#define YOPO_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace yopo::runtime::YOPO_CUDA_SPACE {

/// Launches kernel<<<grid, block, shared>>>(arguments...) on the stream. An empty grid launches nothing.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  constexpr size_t without_asking = 48 << 10;  // CUDA programming guide: more needs the attribute
  ensure(shared <= device().shared_bytes_per_block, "a kernel wants more shared memory than a block can have");
  if (shared > without_asking)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               int(shared)),
          "asking for shared memory");
#if defined(YOPO_CUDA_SHIM)
  shim::launch(kernel, grid, block, shared, stream(), static_cast<Parameters>(arguments)...);
#else
  // It takes >>> apart.
  // clang-format off
  kernel<<<grid, block, shared, stream()>>>(static_cast<Parameters>(arguments)...);
  // clang-format on
#endif
  check(cudaGetLastError(), "launching a kernel");
}

/// Pieces of `size` that hold `count`.
inline unsigned blocks_for(int64_t count, int64_t size) { return unsigned((count + size - 1) / size); }

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
