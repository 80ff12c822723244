#include "tests/support/cuda_emulator/product.h"

#include <algorithm>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"

namespace shim {

namespace {

constexpr int64_t kRows = 16, kColumns = 6, kDepth = 256;  // of a register tile, and of what is packed at a time
using Vector = float __attribute__((vector_size(32)));

struct F32 {
  using Stored = float;
  static float widen(float value) { return value; }
  static float narrow(float value) { return value; }
};
struct F16 {
  using Stored = uint16_t;
  static float widen(uint16_t bits) { return yopo::float_of_fp16(bits); }
  static uint16_t narrow(float value) { return yopo::fp16_of_float(value); }
};
struct BF16 {
  using Stored = uint16_t;
  static float widen(uint16_t bits) { return yopo::float_of_bf16(bits); }
  static uint16_t narrow(float value) { return yopo::bf16_of_float(value); }
};

template <typename Action>
void with_type(cudaDataType_t type, const Action& action) {
  switch (type) {
    case CUDA_R_32F:
      return action(F32());
    case CUDA_R_16F:
      return action(F16());
    case CUDA_R_16BF:
      return action(BF16());
    default:
      yopo::ensure(false, "a product of a type that is not emulated");
  }
}

/// `lines` lines of `depth` elements as fp32, panels of `Width` lines each: [panel][depth][Width], zeros past the last
/// line.
template <int64_t Width>
void pack(const MatrixView& from, int64_t line_step, int64_t depth_step, int64_t lines, int64_t first, int64_t depth,
          std::vector<float>& to) {
  const int64_t panels = (lines + Width - 1) / Width;
  to.assign(size_t(panels * depth * Width), 0.0f);
  with_type(from.type, [&](auto type) {
    using Type = decltype(type);
    const auto* data = static_cast<const typename Type::Stored*>(from.data) + first * depth_step;
    for (int64_t line = 0; line < lines; ++line) {
      float* out = to.data() + line / Width * depth * Width + line % Width;
      for (int64_t d = 0; d < depth; ++d) out[d * Width] = Type::widen(data[line * line_step + d * depth_step]);
    }
  });
}

/// sum [6 columns][16 rows], columns `stride` apart, += panels a [depth][16], b [depth][6].
inline __attribute__((always_inline)) void add_tile(const float* a, const float* b, int64_t depth, float* sum,
                                                    int64_t stride) {
  Vector low[kColumns], high[kColumns];
  for (int64_t j = 0; j < kColumns; ++j) {
    __builtin_memcpy(&low[j], sum + j * stride, sizeof(Vector));
    __builtin_memcpy(&high[j], sum + j * stride + 8, sizeof(Vector));
  }
  for (int64_t d = 0; d < depth; ++d) {
    Vector first, second;
    __builtin_memcpy(&first, a + d * kRows, sizeof(Vector));
    __builtin_memcpy(&second, a + d * kRows + 8, sizeof(Vector));
#pragma GCC unroll 6
    for (int64_t j = 0; j < kColumns; ++j) {
      low[j] += first * b[d * kColumns + j];
      high[j] += second * b[d * kColumns + j];
    }
  }
  for (int64_t j = 0; j < kColumns; ++j) {
    __builtin_memcpy(sum + j * stride, &low[j], sizeof(Vector));
    __builtin_memcpy(sum + j * stride + 8, &high[j], sizeof(Vector));
  }
}

void add_tile_any(const float* a, const float* b, int64_t depth, float* sum, int64_t stride) {
  add_tile(a, b, depth, sum, stride);
}
#if defined(__x86_64__)
// Without fused multiply-add, so that the result is that of the function above.
__attribute__((target("avx2"))) void add_tile_avx2(const float* a, const float* b, int64_t depth, float* sum,
                                                   int64_t stride) {
  add_tile(a, b, depth, sum, stride);
}
#endif

}  // namespace

void multiply(const ProductTask& task) {
  auto* tile = &add_tile_any;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) tile = &add_tile_avx2;
#endif
  const int64_t rows = (task.m + kRows - 1) / kRows * kRows, columns = (task.n + kColumns - 1) / kColumns * kColumns;
  std::vector<float> sums(size_t(rows * columns), 0.0f);  // [columns][rows]
  std::vector<float> a, b;
  for (int64_t first = 0; first < task.k; first += kDepth) {
    const int64_t depth = std::min(kDepth, task.k - first);
    pack<kRows>(task.a, task.a.row_step, task.a.column_step, task.m, first, depth, a);
    pack<kColumns>(task.b, task.b.column_step, task.b.row_step, task.n, first, depth, b);
    for (int64_t j = 0; j < columns; j += kColumns)
      for (int64_t i = 0; i < rows; i += kRows)
        tile(a.data() + i * depth, b.data() + j * depth, depth, sums.data() + j * rows + i, rows);
  }
  with_type(task.d.type, [&](auto type) {
    using Type = decltype(type);
    using Stored = typename Type::Stored;
    auto* d = static_cast<Stored*>(const_cast<void*>(task.d.data));
    const auto* c = static_cast<const Stored*>(task.c.data);
    const auto* bias = static_cast<const Stored*>(task.bias);
    for (int64_t j = 0; j < task.n; ++j)
      for (int64_t i = 0; i < task.m; ++i) {
        float value = task.alpha * sums[size_t(j * rows + i)];
        if (task.beta != 0) value += task.beta * Type::widen(c[i * task.c.row_step + j * task.c.column_step]);
        if (bias != nullptr) value += Type::widen(bias[i]);
        d[i * task.d.row_step + j * task.d.column_step] = Type::narrow(value);
      }
  });
}

}  // namespace shim
