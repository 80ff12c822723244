// Copies into shared memory that run beside arithmetic (cp.async, sm_80 and later).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "runtime/cuda/space.h"

#if defined(YOPO_CUDA_SHIM)
#include <vector>

#include "core/error.h"
#endif

/// Unrolls the loop that follows `count` times; all of it if it is that short, so that what it indexes can be
/// registers.
#if defined(YOPO_CUDA_SHIM)
#define YOPO_UNROLL(count)
#else
#define YOPO_PRAGMA(text) _Pragma(#text)
#define YOPO_UNROLL(count) YOPO_PRAGMA(unroll count)
#endif

namespace yopo::runtime::YOPO_CUDA_SPACE {

constexpr int warp_size = 32;

/// Copies of one thread into shared memory that may still be under way until `wait`. Others see them after a barrier
/// that follows `wait`.
class AsyncCopies {
 public:
  /// 16 bytes from global to shared memory, both aligned to 16; zeros, without reading, unless `real`.
  __device__ __forceinline__ void copy(void* shared, const void* global, bool real) {
#if defined(YOPO_CUDA_SHIM)
    ensure(uintptr_t(shared) % 16 == 0 && (!real || uintptr_t(global) % 16 == 0), "an unaligned 16-byte copy");
    pending_.push_back({shared, real ? global : nullptr});
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(unsigned(__cvta_generic_to_shared(shared))),
                 "l"(global), "r"(real ? 16 : 0)
                 : "memory");
#endif
  }
  __device__ __forceinline__ void wait() {
#if defined(YOPO_CUDA_SHIM)
    // As late as allowed, so that reading too early is seen.
    for (const auto& [shared, global] : pending_) {
      if (global != nullptr)
        std::memcpy(shared, global, 16);
      else
        std::memset(shared, 0, 16);
    }
    pending_.clear();
#else
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
  }

#if defined(YOPO_CUDA_SHIM)
 private:
  struct Pending {
    void* shared;
    const void* global;  // null: zeros
  };
  std::vector<Pending> pending_;
#endif
};

/// One access of 4 or 16 bytes, both pointers aligned to that.
template <int Bytes>
__device__ __forceinline__ void copy_at_once(void* to, const void* from) {
  memcpy(__builtin_assume_aligned(to, Bytes), __builtin_assume_aligned(from, Bytes), Bytes);
}

/// Copies rows of head_dim elements into shared memory; what lies past them becomes zero. `from` rows `stride` elements
/// apart.
template <int Threads, int Rows, int Dim, typename Row, typename Element>
__device__ __forceinline__ void load_rows(AsyncCopies& copies, Row* to, const Element* from, unsigned stride, int rows,
                                          int head_dim) {
  constexpr int lot = 16 / int(sizeof(Element)), lots = Dim / lot;
  static_assert(Rows * lots % Threads == 0);
  YOPO_UNROLL(4)
  for (int i = 0; i < Rows * lots / Threads; ++i) {
    const unsigned index = unsigned(i * Threads) + threadIdx.x, row = index / lots, column = index % lots * lot;
    copies.copy(&to[row][column], from + (row * stride + column), row < unsigned(rows) && column < unsigned(head_dim));
  }
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
