// How kernels are launched: the only place that the <<< >>> syntax is needed, so that the same sources compile over the
// shim.
#pragma once

#include <cuda_runtime.h>
#include <cxxabi.h>

#include <cstdlib>
#include <source_location>
#include <string>

#include "core/error.h"
#include "runtime/cuda/context.h"

#if defined(YOPO_CUDA_SHIM)
#include <cuda_emulated_launch.h>  // shim::launch, YOPO_DYNAMIC_SHARED
#else
/// Declares `name`, the block's dynamic shared memory, aligned for any vector type.
#define YOPO_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace yopo::runtime::YOPO_CUDA_SPACE {

/// A grid, and where it was written: the place of the launch.
struct Grid {
  // NOLINTNEXTLINE(google-explicit-constructor)
  Grid(dim3 size, const std::source_location& where = std::source_location::current()) : size(size), where(where) {}
  dim3 size;
  std::source_location where;
};

/// What the program calls a kernel, as far as that can be told.
inline std::string kernel_name(const void* kernel) {
#if !defined(YOPO_CUDA_SHIM)
  const char* name = nullptr;
  if (cudaFuncGetName(&name, kernel) == cudaSuccess && name) {
    int status = 0;
    char* const plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string text = status == 0 && plain ? plain : name;
    std::free(plain);
    return "the kernel " + text;
  }
#endif
  return "a kernel";
}

/// Launches kernel<<<grid, block, shared>>>(arguments...) on the stream. An empty grid launches nothing.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), const Grid& place, dim3 block, size_t shared, Arguments... arguments) {
  const dim3 grid = place.size;
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
  if (checks_launches()) wait_for_launch(kernel_name(reinterpret_cast<const void*>(kernel)), place.where);
}

/// Pieces of `size` that hold `count`.
inline unsigned blocks_for(int64_t count, int64_t size) { return unsigned((count + size - 1) / size); }

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
