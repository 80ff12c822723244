// Rotary embedding in place, and rotated on the way into the KV cache. Halves are split: element i of a head turns with
// element head_dim / 2 + i by the angle of its row's table, [rows, head_dim / 2]; multimodal rotation is a matter of
// the table alone.
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/types.cuh"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

/// N pairs from `in`, halves `half` apart, turned into `out`, which may be `in`.
template <int N, typename T>
__device__ void turn(const T* in, int64_t half, const float* cos, const float* sin, T* out) {
  float a[N], b[N], c[N], s[N], turned_a[N], turned_b[N];
  load(in, a);
  load(in + half, b);
  load(cos, c);
  load(sin, s);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    turned_a[n] = a[n] * c[n] - b[n] * s[n];
    turned_b[n] = b[n] * c[n] + a[n] * s[n];
  }
  store(turned_a, out);
  store(turned_b, out + half);
}

template <int N, typename T>
__device__ void copy(const T* in, T* out) {
  *reinterpret_cast<Pack<T, N>*>(out) = *reinterpret_cast<const Pack<T, N>*>(in);
}

/// Keys and values of all rows, as KvRows has them.
template <typename T>
struct Rows {
  const T *k, *v, *v_rest;
  int64_t v_heads, stride;
};

/// Row `row` of them into row `at` of a segment, [heads][stride][head_dim].
template <int N, typename T>
__device__ void place(const Rows<T>& rows, int64_t row, const float* cos, const float* sin, int64_t half, int64_t heads,
                      T* keys, T* values, int64_t stride, int64_t at, int64_t first_item, int64_t apart) {
  const int pieces = int(half / N);
  for (int64_t item = first_item; item < heads * pieces; item += apart) {
    const int64_t head = int(item) / pieces, i = int64_t(int(item) % pieces) * N;
    const int64_t from = row * rows.stride + head * 2 * half + i, to = (head * stride + at) * 2 * half + i;
    const T* v = (head < rows.v_heads ? rows.v : rows.v_rest) + from;
    turn<N>(rows.k + from, half, cos + i, sin + i, keys + to);
    copy<N>(v, values + to);
    copy<N>(v + half, values + to + half);
  }
}

/// x: rows stride apart.
template <typename T, int N>
__global__ void rotate(T* x, int64_t rows, int64_t heads, int64_t half, int64_t stride, const float* __restrict__ cos,
                       const float* __restrict__ sin) {
  const int64_t row = row_of_thread();
  if (row >= rows) return;
  const int pieces = int(half / N);
  for (int64_t item = item_of_thread(); item < heads * pieces; item += items_apart()) {
    const int64_t i = int64_t(int(item) % pieces) * N;
    T* at = x + row * stride + int64_t(int(item) / pieces) * 2 * half + i;
    turn<N>(at, half, cos + row * half + i, sin + row * half + i, at);
  }
}

/// Targets as kernel arguments: what a launch reads must not outlive the call in host memory.
constexpr int targets_a_launch = 24;
struct Target {
  void *keys, *values;  // [heads][stride][head_dim]
  int64_t row, rows, at, heads, stride;
};
struct Targets {
  Target at[targets_a_launch];
};

template <typename T, int N>
__global__ void store_rows(const Rows<T> rows, int64_t half, const float* __restrict__ cos,
                           const float* __restrict__ sin, const Targets targets) {
  const Target& target = targets.at[blockIdx.z];
  if (row_of_thread() >= target.rows) return;
  const int64_t row = target.row + row_of_thread();
  place<N>(rows, row, cos + row * half, sin + row * half, half, target.heads, static_cast<T*>(target.keys),
           static_cast<T*>(target.values), target.stride, target.at + row_of_thread(), item_of_thread(), items_apart());
}

constexpr int steps_a_launch = 64;
struct Step {
  void *keys, *values;  // [kv_heads][stride][head_dim]
  int64_t stride;
};
struct Steps {
  Step at[steps_a_launch];
};

/// rows [requests], counts [requests]: all from this launch's first request on.
template <typename T, int N>
__global__ void store_steps(const Rows<T> rows, int64_t kv_heads, int64_t half, const float* __restrict__ cos,
                            const float* __restrict__ sin, const int32_t* __restrict__ counts, int64_t requests,
                            const Steps steps) {
  const int64_t row = row_of_thread();
  if (row >= requests) return;
  const Step& step = steps.at[row];
  const int64_t at = counts[row];
  if (at < 0 || at >= step.stride) return;  // the engine checks the room before it issues a step; never write past it
  place<N>(rows, row, cos + row * half, sin + row * half, half, kv_heads, static_cast<T*>(step.keys),
           static_cast<T*>(step.values), step.stride, at, item_of_thread(), items_apart());
}

/// From row `first` on.
template <typename T>
Rows<T> rows_from(const KvRows& from, int64_t first) {
  const auto at = [&](const void* data) { return static_cast<const T*>(data) + first * from.stride; };
  return {at(from.k), at(from.v), at(from.v_rest), from.v_heads, from.stride};
}

/// A row's pieces are counted in 32 bits, whose division is the cheaper.
void check_heads(int64_t heads, int64_t head_dim) {
  ensure(head_dim % 2 == 0, "rotary embedding turns pairs");
  ensure(heads * head_dim <= INT32_MAX, "a row of more heads than a kernel takes");
}

}  // namespace

void rope(void* x, DType type, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride, const float* cos,
          const float* sin) {
  if (rows <= 0 || heads <= 0 || head_dim <= 0) return;
  check_heads(heads, head_dim);
  const int64_t half = head_dim / 2;
  with_element(type, [&](auto element) {
    using T = decltype(element);
    constexpr int N = vector_of<T>;
    const bool vectors = half % N == 0 && stride % N == 0 && vectors_at({x, cos, sin});
    const RowLaunch shape = over_rows(rows, heads * half / (vectors ? N : 1));
    launch(vectors ? rotate<T, N> : rotate<T, 1>, shape.grid, shape.block, 0, static_cast<T*>(x), rows, heads, half,
           stride, cos, sin);
  });
}

void store(const KvRows& from, DType type, int64_t head_dim, const float* cos, const float* sin,
           std::span<const StoreRows> targets) {
  const int64_t half = head_dim / 2;
  for (size_t first = 0; first < targets.size(); first += targets_a_launch) {
    const auto here = targets.subspan(first, std::min<size_t>(targets_a_launch, targets.size() - first));
    Targets chunk = {};
    int64_t rows = 0, heads = 0;
    bool vectors = vectors_at({from.k, from.v, from.v_rest, cos, sin});
    for (size_t i = 0; i < here.size(); ++i) {
      const KvSegment& segment = here[i].segment;
      ensure(here[i].at + here[i].rows <= segment.stride, "KV rows past their segment");
      chunk.at[i] = {segment.keys, segment.values, here[i].row,   here[i].rows,
                     here[i].at,   segment.heads,  segment.stride};
      rows = std::max(rows, here[i].rows);
      heads = std::max(heads, segment.heads);
      vectors = vectors && vectors_at({segment.keys, segment.values});
    }
    if (rows <= 0 || heads <= 0 || head_dim <= 0) continue;
    check_heads(heads, head_dim);
    with_element(type, [&](auto element) {
      using T = decltype(element);
      constexpr int N = vector_of<T>;
      const bool wide = vectors && half % N == 0 && from.stride % N == 0;
      RowLaunch shape = over_rows(rows, heads * half / (wide ? N : 1));
      shape.grid.z = unsigned(here.size());
      launch(wide ? store_rows<T, N> : store_rows<T, 1>, shape.grid, shape.block, 0, rows_from<T>(from, 0), half, cos,
             sin, chunk);
    });
  }
}

void store_decode(const DecodeStore& work) {
  if (work.kv_heads <= 0 || work.head_dim <= 0) return;
  check_heads(work.kv_heads, work.head_dim);
  const int64_t half = work.head_dim / 2;
  for (size_t first = 0; first < work.requests.size(); first += steps_a_launch) {
    const auto here = work.requests.subspan(first, std::min<size_t>(steps_a_launch, work.requests.size() - first));
    const float* cos = work.cos + int64_t(first) * half;
    const float* sin = work.sin + int64_t(first) * half;
    Steps chunk = {};
    bool vectors = vectors_at({work.rows.k, work.rows.v, work.rows.v_rest, cos, sin});
    for (size_t i = 0; i < here.size(); ++i) {
      chunk.at[i] = {here[i].text.keys, here[i].text.values, here[i].text.stride};
      vectors = vectors && vectors_at({here[i].text.keys, here[i].text.values});
    }
    with_element(work.type, [&](auto element) {
      using T = decltype(element);
      constexpr int N = vector_of<T>;
      const bool wide = vectors && half % N == 0 && work.rows.stride % N == 0;
      const int64_t requests = int64_t(here.size());
      const RowLaunch shape = over_rows(requests, work.kv_heads * half / (wide ? N : 1));
      launch(wide ? store_steps<T, N> : store_steps<T, 1>, shape.grid, shape.block, 0,
             rows_from<T>(work.rows, int64_t(first)), work.kv_heads, half, cos, sin, work.counts + first, requests,
             chunk);
    });
  }
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
