// RMS and layer norm: a block per row, or a warp where rows are short. Statistics and arithmetic are fp32.
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/types.cuh"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

/// out = (x - mean) * scale * weight + bias; without Centred mean and bias are 0. The variance is summed in a second
/// pass over the row, which the first left in the cache: E[x^2] - mean^2 would lose the digits of rows far from 0. x
/// [rows, columns], weight, bias [columns], out [rows, columns].
template <typename T, bool Centred, int N>
__global__ void normalise(const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias,
                          float eps, int64_t rows, int64_t columns, T* __restrict__ out) {
  const int64_t row = row_of_thread();
  if (row >= rows) return;  // whole warps, and only where a row is a warp's and nobody waits for the block
  const float* in = x + row * columns;
  T* to = out + row * columns;
  const int64_t first = int64_t(threadIdx.x) * N, step = int64_t(blockDim.x) * N;
  float values[N], factors[N], shifts[N];

  float mean = 0;
  if constexpr (Centred) {
    float sum = 0;
    for (int64_t i = first; i < columns; i += step) {
      load(in + i, values);
#pragma unroll
      for (int n = 0; n < N; ++n) sum += values[n];
    }
    mean = team_sum(sum) / float(columns);
  }
  float squares = 0;
  for (int64_t i = first; i < columns; i += step) {
    load(in + i, values);
#pragma unroll
    for (int n = 0; n < N; ++n) squares += (values[n] - mean) * (values[n] - mean);
  }
  const float scale = 1.0f / sqrtf(team_sum(squares) / float(columns) + eps);

  for (int64_t i = first; i < columns; i += step) {
    load(in + i, values);
    load(weight + i, factors);
    if constexpr (Centred) load(bias + i, shifts);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      values[n] = (values[n] - mean) * scale * factors[n];
      if constexpr (Centred) values[n] += shifts[n];
    }
    store(values, to + i);
  }
}

/// x [rows, heads, columns] in place, rows stride apart; a head a warp. weight [columns].
template <typename T, int N>
__global__ void normalise_heads(T* x, const float* __restrict__ weight, float eps, int64_t rows, int64_t heads,
                                int64_t columns, int64_t stride) {
  const int64_t head = row_of_thread();
  if (head >= rows * heads) return;
  T* at = x + head / heads * stride + head % heads * columns;
  const int64_t first = int64_t(threadIdx.x) * N, step = int64_t(warp_threads) * N;
  float values[N], factors[N];
  float squares = 0;
  for (int64_t i = first; i < columns; i += step) {
    load(at + i, values);
#pragma unroll
    for (int n = 0; n < N; ++n) squares += values[n] * values[n];
  }
  const float scale = 1.0f / sqrtf(warp_sum(squares) / float(columns) + eps);
  for (int64_t i = first; i < columns; i += step) {
    load(at + i, values);
    load(weight + i, factors);
#pragma unroll
    for (int n = 0; n < N; ++n) values[n] = values[n] * scale * factors[n];
    store(values, at + i);
  }
}

template <bool Centred>
void normalise_rows(const float* x, const float* weight, const float* bias, double eps, int64_t rows, int64_t columns,
                    DType type, void* out) {
  if (rows <= 0 || columns <= 0) return;
  constexpr int64_t warp_columns = 1024, small_block_columns = 4096;
  const int64_t threads = columns <= warp_columns ? warp_threads : columns <= small_block_columns ? 256 : 512;
  const int64_t block_rows = threads == warp_threads ? 8 : 1;
  ensure((rows + block_rows - 1) / block_rows <= grid_x_limit, "more rows than a launch takes");
  with_element(type, [&](auto element) {
    using T = decltype(element);
    constexpr int N = vector_of<T>;
    const bool vectors = columns % N == 0 && vectors_at({x, weight, bias, out});
    launch(vectors ? normalise<T, Centred, N> : normalise<T, Centred, 1>, dim3(blocks_for(rows, block_rows)),
           dim3(unsigned(threads), unsigned(block_rows)), 0, x, weight, bias, float(eps), rows, columns,
           static_cast<T*>(out));
  });
}

}  // namespace

void rms_norm(const float* x, const float* weight, double eps, int64_t rows, int64_t columns, DType type, void* out) {
  normalise_rows<false>(x, weight, nullptr, eps, rows, columns, type, out);
}

void layer_norm(const float* x, const float* weight, const float* bias, double eps, int64_t rows, int64_t columns,
                DType type, void* out) {
  normalise_rows<true>(x, weight, bias, eps, rows, columns, type, out);
}

void norm_heads(void* x, DType type, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride, const float* weight,
                double eps) {
  if (rows <= 0 || heads <= 0 || head_dim <= 0) return;
  constexpr int64_t block_heads = 8;
  ensure((rows * heads + block_heads - 1) / block_heads <= grid_x_limit, "more heads than a launch takes");
  with_element(type, [&](auto element) {
    using T = decltype(element);
    constexpr int N = vector_of<T>;
    const bool vectors = head_dim % N == 0 && stride % N == 0 && vectors_at({x, weight});
    launch(vectors ? normalise_heads<T, N> : normalise_heads<T, 1>, dim3(blocks_for(rows * heads, block_heads)),
           dim3(unsigned(warp_threads), unsigned(block_heads)), 0, static_cast<T*>(x), weight, float(eps), rows, heads,
           head_dim, stride);
  });
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
