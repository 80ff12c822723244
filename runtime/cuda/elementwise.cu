// Element-wise work: gates, activations, biases, and the vision tower's embeddings. Arithmetic is fp32, rounded once.
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/types.cuh"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

__device__ inline float sigmoid_times(float x, float slope) { return x / (1.0f + expf(-slope * x)); }

template <Activation A>
__device__ inline float activated(float x) {
  if constexpr (A == Activation::Silu) return sigmoid_times(x, 1.0f);
  if constexpr (A == Activation::Gelu) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  if constexpr (A == Activation::QuickGelu) return sigmoid_times(x, 1.702f);
  if constexpr (A == Activation::GeluTanh)
    return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}

/// A flat array as `vectors` whole vectors, one a thread, and what remains, an element a thread.
constexpr int64_t flat_threads = 256;
__device__ inline int64_t flat_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
struct FlatLaunch {
  dim3 grid;
  int64_t vectors;
};
template <typename T>
FlatLaunch over_flat(int64_t count, bool vectors) {
  const int64_t whole = vectors ? count / vector_of<T> : 0, threads = whole + count - whole * vector_of<T>;
  ensure((threads + flat_threads - 1) / flat_threads <= grid_x_limit, "more elements than a launch takes");
  return {dim3(blocks_for(threads, flat_threads)), whole};
}

template <int N, typename T>
__device__ void gate_values(const T* gate, const T* up, T* out) {
  float g[N], u[N];
  load(gate, g);
  load(up, u);
#pragma unroll
  for (int n = 0; n < N; ++n) g[n] = activated<Activation::Silu>(g[n]) * u[n];
  store(g, out);
}

/// gate, up, out [count]; out may be gate.
template <typename T>
__global__ void gate_flat(const T* gate, const T* __restrict__ up, int64_t vectors, int64_t count, T* out) {
  constexpr int N = vector_of<T>;
  const int64_t index = flat_index();
  if (index < vectors) return gate_values<N>(gate + index * N, up + index * N, out + index * N);
  const int64_t i = vectors * N + index - vectors;
  if (i < count) gate_values<1>(gate + i, up + i, out + i);
}

/// gate, up: rows `stride` apart; out [rows, columns].
template <typename T, int N>
__global__ void gate_rows(const T* __restrict__ gate, const T* __restrict__ up, int64_t rows, int64_t columns,
                          int64_t stride, T* __restrict__ out) {
  const int64_t row = row_of_thread();
  if (row >= rows) return;
  for (int64_t i = item_of_thread() * N; i < columns; i += items_apart() * N)
    gate_values<N>(gate + row * stride + i, up + row * stride + i, out + row * columns + i);
}

template <Activation A, int N, typename T>
__device__ void activate_values(T* x) {
  float values[N];
  load(x, values);
#pragma unroll
  for (int n = 0; n < N; ++n) values[n] = activated<A>(values[n]);
  store(values, x);
}

/// x [count].
template <typename T, Activation A>
__global__ void activate_flat(T* x, int64_t vectors, int64_t count) {
  constexpr int N = vector_of<T>;
  const int64_t index = flat_index();
  if (index < vectors) return activate_values<A, N>(x + index * N);
  const int64_t i = vectors * N + index - vectors;
  if (i < count) activate_values<A, 1>(x + i);
}

/// x [rows, columns], rows stride apart; bias [columns].
template <typename T, int N>
__global__ void add_to_rows(T* x, const float* __restrict__ bias, int64_t rows, int64_t columns, int64_t stride) {
  const int64_t row = row_of_thread();
  if (row >= rows) return;
  for (int64_t i = item_of_thread() * N; i < columns; i += items_apart() * N) {
    float values[N], added[N];
    load(x + row * stride + i, values);
    load(bias + i, added);
#pragma unroll
    for (int n = 0; n < N; ++n) values[n] += added[n];
    store(values, x + row * stride + i);
  }
}

/// x, y [rows, columns]; scale [columns].
template <int N>
__global__ void add_scaled_rows(float* x, const float* __restrict__ scale, const float* __restrict__ y, int64_t rows,
                                int64_t columns) {
  const int64_t row = row_of_thread();
  if (row >= rows) return;
  for (int64_t i = item_of_thread() * N; i < columns; i += items_apart() * N) {
    float values[N], factors[N], added[N];
    load(x + row * columns + i, values);
    load(scale + i, factors);
    load(y + row * columns + i, added);
#pragma unroll
    for (int n = 0; n < N; ++n) values[n] += factors[n] * added[n];
    store(values, x + row * columns + i);
  }
}

/// patches [images * (positions - first), columns], class_embed [columns] where first is 1, position_embed [positions,
/// columns] or null, out [images * positions, columns].
template <int N>
__global__ void embed_rows(const float* __restrict__ patches, const float* __restrict__ class_embed,
                           const float* __restrict__ position_embed, int64_t rows, int64_t positions, int64_t columns,
                           float* __restrict__ out) {
  const int64_t row = row_of_thread();
  if (row >= rows) return;
  const int64_t image = row / positions, position = row % positions;
  const int64_t first = class_embed ? 1 : 0;
  const float* from =
      position < first ? class_embed : patches + (image * (positions - first) + position - first) * columns;
  for (int64_t i = item_of_thread() * N; i < columns; i += items_apart() * N) {
    float values[N];
    load(from + i, values);
    if (position_embed) {
      float added[N];
      load(position_embed + position * columns + i, added);
#pragma unroll
      for (int n = 0; n < N; ++n) values[n] += added[n];
    }
    store(values, out + row * columns + i);
  }
}

/// x [groups * (kept + skip), columns], out [rows = groups * kept, columns].
template <typename T, int N>
__global__ void keep_rows(const float* __restrict__ x, int64_t rows, int64_t kept, int64_t skip, int64_t columns,
                          T* __restrict__ out) {
  const int64_t row = row_of_thread();
  if (row >= rows) return;
  const float* from = x + (row + (row / kept + 1) * skip) * columns;
  for (int64_t i = item_of_thread() * N; i < columns; i += items_apart() * N) {
    float values[N];
    load(from + i, values);
    store(values, out + row * columns + i);
  }
}

/// index, weight [count, 4]; from [.., columns], out [count, columns].
template <int N>
__global__ void mix_four(const float* __restrict__ from, const int32_t* __restrict__ index,
                         const float* __restrict__ weight, int64_t count, int64_t columns, float* __restrict__ out) {
  const int64_t row = row_of_thread();
  if (row >= count) return;
  for (int64_t i = item_of_thread() * N; i < columns; i += items_apart() * N) {
    float sum[N] = {}, values[N];
    for (int64_t part = 4 * row; part < 4 * row + 4; ++part) {
      const float factor = weight[part];
      if (factor == 0) continue;
      load(from + index[part] * columns + i, values);
#pragma unroll
      for (int n = 0; n < N; ++n) sum[n] += factor * values[n];
    }
    store(sum, out + row * columns + i);
  }
}

}  // namespace

void gated(const void* gate, const void* up, DType type, int64_t rows, int64_t columns, int64_t stride, void* out) {
  if (rows <= 0 || columns <= 0) return;
  ensure(stride >= columns || rows == 1, "row strides shorter than rows");
  with_element(type, [&](auto element) {
    using T = decltype(element);
    const T *g = static_cast<const T*>(gate), *u = static_cast<const T*>(up);
    T* to = static_cast<T*>(out);
    if (rows == 1 || stride == columns) {
      const int64_t count = rows * columns;
      const FlatLaunch shape = over_flat<T>(count, vectors_at({gate, up, out}));
      launch(gate_flat<T>, shape.grid, dim3(flat_threads), 0, g, u, shape.vectors, count, to);
      return;
    }
    constexpr int N = vector_of<T>;
    const bool vectors = columns % N == 0 && stride % N == 0 && vectors_at({gate, up, out});
    const RowLaunch shape = over_rows(rows, columns / (vectors ? N : 1));
    launch(vectors ? gate_rows<T, N> : gate_rows<T, 1>, shape.grid, shape.block, 0, g, u, rows, columns, stride, to);
  });
}

void activate(Activation activation, void* x, DType type, int64_t count) {
  if (count <= 0) return;
  with_element(type, [&](auto element) {
    using T = decltype(element);
    const FlatLaunch shape = over_flat<T>(count, vectors_at({x}));
    const auto issue = [&](void (*kernel)(T*, int64_t, int64_t)) {
      launch(kernel, shape.grid, dim3(flat_threads), 0, static_cast<T*>(x), shape.vectors, count);
    };
    switch (activation) {
      case Activation::Silu:
        return issue(activate_flat<T, Activation::Silu>);
      case Activation::Gelu:
        return issue(activate_flat<T, Activation::Gelu>);
      case Activation::QuickGelu:
        return issue(activate_flat<T, Activation::QuickGelu>);
      case Activation::GeluTanh:
        return issue(activate_flat<T, Activation::GeluTanh>);
    }
    ensure(false, "an activation that the CUDA backend does not know");
  });
}

void add_bias_to(void* x, DType type, const float* bias, int64_t rows, int64_t columns, int64_t stride) {
  if (rows <= 0 || columns <= 0) return;
  with_element(type, [&](auto element) {
    using T = decltype(element);
    constexpr int N = vector_of<T>;
    const bool vectors = columns % N == 0 && stride % N == 0 && vectors_at({x, bias});
    const RowLaunch shape = over_rows(rows, columns / (vectors ? N : 1));
    launch(vectors ? add_to_rows<T, N> : add_to_rows<T, 1>, shape.grid, shape.block, 0, static_cast<T*>(x), bias, rows,
           columns, stride);
  });
}

void add_bias(float* x, const float* bias, int64_t rows, int64_t columns) {
  add_bias_to(x, DType::F32, bias, rows, columns, columns);
}

void add_scaled(float* x, const float* scale, const float* y, int64_t rows, int64_t columns) {
  if (rows <= 0 || columns <= 0) return;
  constexpr int N = vector_of<float>;
  const bool vectors = columns % N == 0 && vectors_at({x, scale, y});
  const RowLaunch shape = over_rows(rows, columns / (vectors ? N : 1));
  launch(vectors ? add_scaled_rows<N> : add_scaled_rows<1>, shape.grid, shape.block, 0, x, scale, y, rows, columns);
}

void embed_patches(const float* patches, const float* class_embed, const float* position_embed, int64_t images,
                   int64_t positions, int64_t columns, float* out) {
  if (images <= 0 || positions <= 0 || columns <= 0) return;
  constexpr int N = vector_of<float>;
  const bool vectors = columns % N == 0 && vectors_at({patches, class_embed, position_embed, out});
  const int64_t rows = images * positions;
  const RowLaunch shape = over_rows(rows, columns / (vectors ? N : 1));
  launch(vectors ? embed_rows<N> : embed_rows<1>, shape.grid, shape.block, 0, patches, class_embed, position_embed,
         rows, positions, columns, out);
}

void drop_rows(const float* x, int64_t groups, int64_t rows, int64_t skip, int64_t columns, DType type, void* out) {
  const int64_t kept = rows - skip;
  if (groups <= 0 || kept <= 0 || columns <= 0) return;
  with_element(type, [&](auto element) {
    using T = decltype(element);
    constexpr int N = vector_of<T>;
    const bool vectors = columns % N == 0 && vectors_at({x, out});
    const RowLaunch shape = over_rows(groups * kept, columns / (vectors ? N : 1));
    launch(vectors ? keep_rows<T, N> : keep_rows<T, 1>, shape.grid, shape.block, 0, x, groups * kept, kept, skip,
           columns, static_cast<T*>(out));
  });
}

void mix_rows(const float* from, const int32_t* index, const float* weight, int64_t count, int64_t columns,
              float* out) {
  if (count <= 0 || columns <= 0) return;
  constexpr int N = vector_of<float>;
  const bool vectors = columns % N == 0 && vectors_at({from, out});
  const RowLaunch shape = over_rows(count, columns / (vectors ? N : 1));
  launch(vectors ? mix_four<N> : mix_four<1>, shape.grid, shape.block, 0, from, index, weight, count, columns, out);
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
