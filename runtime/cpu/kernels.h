// Inner loops that want the widest vectors of the machine: compiled once per instruction set, chosen at run time.
// One thread each; callers parallelise.
#pragma once

#include <cstdint>

namespace yopo::runtime::cpu {

struct Kernels {
  const char* name;
  int64_t width;  // floats a vector; keys are packed in tiles of this many

  /// packed [ceil(keys / width)][dim][width] fp32, zero-padded: transposed tiles of keys [keys, dim], rows `stride`
  /// apart.
  void (*pack_keys)(const void* keys, bool bf16, int64_t count, int64_t dim, int64_t stride, float* packed);
  /// out [rows, dim] fp32, rows `out_stride` apart = in, rows `stride` apart, times scale.
  void (*widen)(const void* in, bool bf16, int64_t rows, int64_t dim, int64_t stride, float scale, float* out,
                int64_t out_stride);
  /// out [rows, round_up(keys, width)] = q [rows, dim] x packed keys; rows of q and out `q_stride`, `out_stride` apart.
  void (*scores)(const float* q, int64_t rows, int64_t dim, int64_t q_stride, const float* packed, int64_t keys,
                 float* out, int64_t out_stride);
  /// out [rows, dim] += p [rows, keys] x values [keys, dim]; dim is a multiple of 16.
  void (*weigh)(const float* p, int64_t rows, int64_t keys, int64_t p_stride, const float* values, int64_t dim,
                float* out, int64_t out_stride);
  /// Scores [rows, stride] of keys in two parts, the second from column `at` on; of row r the first `first[r]` and
  /// `second[r]` are read, neither descending from row to row. They become exp(score - the row's largest), everything
  /// else 0 (what lay there does not matter), and sums[r] their sum. `at` and `stride` are multiples of the width.
  void (*softmax)(float* scores, int64_t rows, int64_t stride, const int64_t* first, int64_t at, const int64_t* second,
                  float* sums);
  /// Largest of `count` floats (-inf for none).
  float (*largest)(const float* x, int64_t count);
  /// x = exp(x - shift); returns the sum.
  float (*exponentials)(float* x, int64_t count, float shift);
  /// out [count] = q [dim] . keys [count, dim], rows `stride` apart.
  void (*dots)(const float* q, const void* keys, bool bf16, int64_t count, int64_t dim, int64_t stride, float* out);
  /// out [dim] += p [count] x values [count, dim], rows `stride` apart.
  void (*blend)(const float* p, const void* values, bool bf16, int64_t count, int64_t dim, int64_t stride, float* out);
  /// out [dim] fp32 or bf16 = x * scale.
  void (*narrow)(const float* x, int64_t dim, float scale, bool bf16, void* out);

  /// out [m, n] = a [m, k] x w [n, k]^T for m <= 4. a fp32; for bf16 weights its even and odd columns are split:
  /// row i is [ceil(k / 2) even | ceil(k / 2) odd]. Rows of a `a_stride`, of w `w_stride`, of out `out_stride` apart.
  void (*gemv)(const float* a, int64_t m, int64_t a_stride, const void* w, bool bf16, int64_t n, int64_t k,
               int64_t w_stride, float* out, int64_t out_stride);
  /// out [m, 64] = a [m, k] x one block of packed weights [64, k]^T (cpu/packed.h) for m <= 4. a fp32, for bf16 weights
  /// with a zero behind an odd k; rows of a `a_stride` apart.
  void (*gemv_packed)(const float* a, int64_t m, int64_t a_stride, const void* w, bool bf16, int64_t k, float* out);

  /// Sum of squares; sum of squared differences from `mean`; sum.
  float (*square_sum)(const float* x, int64_t count, float mean);
  float (*sum)(const float* x, int64_t count);
  /// out = (x - mean) * scale * weight + bias (bias may be null), fp32 or bf16.
  void (*normalise)(const float* x, float mean, float scale, const float* weight, const float* bias, int64_t count,
                    bool bf16, void* out);
  /// out = silu(gate) * up; out may be gate.
  void (*gated)(const void* gate, const void* up, bool bf16, int64_t count, void* out);
  /// out [2 half] = rotation of in [2 half] by cos, sin [half]; in may be out.
  void (*rotate)(const void* in, bool bf16, int64_t half, const float* cos, const float* sin, void* out);
};

/// The best set that this machine runs.
const Kernels& kernels();
/// All sets that this machine runs, plainest first: for tests that hold them against each other.
struct KernelList {
  const Kernels* sets[3];
  int count;
};
KernelList all_kernels();

extern const Kernels kernels_base;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace yopo::runtime::cpu
