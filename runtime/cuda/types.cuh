// What the row-wise and element-wise kernels share: elements of any floating type read and written as fp32, 16 bytes at
// a time where memory allows it, sums over warps and blocks, and the shapes of launches.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "core/dtype.h"
#include "core/error.h"
#include "runtime/cuda/launch.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {

constexpr int warp_threads = 32;
constexpr unsigned whole_warp = 0xffffffffu;

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float widen(__half x) { return __half2float(x); }

/// fp32 to T, rounded to nearest even.
template <typename T>
__device__ T narrow(float x);
template <>
__device__ inline float narrow<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half narrow<__half>(float x) {
  return __float2half_rn(x);
}

/// How many T a 16-byte access moves.
template <typename T>
constexpr int vector_of = 16 / int(sizeof(T));

/// N neighbouring elements: one of them, or whole 16-byte vectors at an address that is a multiple of 16.
template <typename T, int N>
struct alignas(N == 1 ? alignof(T) : 16) Pack {
  static_assert(N == 1 || N * sizeof(T) % 16 == 0);
  T at[N];
};

template <int N, typename T>
__device__ inline void load(const T* from, float (&to)[N]) {
  const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = widen(pack.at[i]);
}

template <int N, typename T>
__device__ inline void store(const float (&from)[N], T* to) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.at[i] = narrow<T>(from[i]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

/// The sum over a warp's threads, the same in all of them.
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int apart = warp_threads / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(whole_warp, x, apart);
  return x;
}

/// The sum over the threads that share threadIdx.y, the same in all of them: a warp, or the only row of its block.
__device__ inline float team_sum(float x) {
  x = warp_sum(x);
  if (blockDim.x == warp_threads) return x;
  __shared__ float sums[warp_threads];
  const int lane = int(threadIdx.x) % warp_threads, warps = int(blockDim.x) / warp_threads;
  __syncthreads();  // the sum before may still be being read
  if (lane == 0) sums[int(threadIdx.x) / warp_threads] = x;
  __syncthreads();
  return warp_sum(lane < warps ? sums[lane] : 0.0f);
}

/// Calls body with a value of the element type that `type` names.
template <typename Body>
void with_element(DType type, Body body) {
  switch (type) {
    case DType::F32:
      return body(float());
    case DType::BF16:
      return body(__nv_bfloat16());
    case DType::F16:
      return body(__half());
    default:
      ensure(false, "CUDA kernels compute in fp32, bf16 or fp16");
  }
}

/// Whether every pointer may be read in 16-byte vectors.
inline bool vectors_at(std::initializer_list<const void*> pointers) {
  return std::all_of(pointers.begin(), pointers.end(),
                     [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; });
}

constexpr int64_t grid_x_limit = INT32_MAX, grid_yz_limit = 65535;  // CUDA programming guide, compute capabilities

/// A launch over rows of `items` pieces each: row_of_thread(), and within it pieces item_of_thread() + n *
/// items_apart().
struct RowLaunch {
  dim3 grid, block;
};
inline RowLaunch over_rows(int64_t rows, int64_t items) {
  constexpr int64_t block = 256, walk = 4;  // pieces that a thread of a long row takes
  const int64_t x = std::clamp<int64_t>((items + warp_threads - 1) / warp_threads * warp_threads, warp_threads, block);
  const int64_t y = block / x;
  ensure((rows + y - 1) / y <= grid_x_limit, "more rows than a launch takes");
  const int64_t parts = std::min<int64_t>((items + x * walk - 1) / (x * walk), grid_yz_limit);
  return {dim3(blocks_for(rows, y), unsigned(parts)), dim3(unsigned(x), unsigned(y))};
}
__device__ inline int64_t row_of_thread() { return int64_t(blockIdx.x) * blockDim.y + threadIdx.y; }
__device__ inline int64_t item_of_thread() { return int64_t(blockIdx.y) * blockDim.x + threadIdx.x; }
__device__ inline int64_t items_apart() { return int64_t(gridDim.y) * blockDim.x; }

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
