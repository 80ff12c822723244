#include "runtime/products.h"

#include <algorithm>

#include "core/error.h"
#include "runtime/ops.h"

namespace yopo::runtime {
namespace {

constexpr int64_t block_rows = 512;

/// [rows, columns] -> [columns, rows]
void transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  constexpr int64_t tile = 16;
  for (int64_t r0 = 0; r0 < rows; r0 += tile)
    for (int64_t c0 = 0; c0 < columns; c0 += tile)
      for (int64_t r = r0; r < std::min(rows, r0 + tile); ++r)
        for (int64_t c = c0; c < std::min(columns, c0 + tile); ++c) to[c * rows + r] = from[r * columns + c];
}

}  // namespace

void add_cross_product(const float* a, const float* b, int64_t rows, int64_t a_columns, int64_t b_columns,
                       std::vector<double>& out) {
  ensure(int64_t(out.size()) == a_columns * b_columns, "a cross product's size");
  std::vector<float> at(size_t(block_rows * a_columns)), bt(size_t(block_rows * b_columns)), product(out.size());
  for (int64_t first = 0; first < rows; first += block_rows) {
    const int64_t here = std::min(block_rows, rows - first);
    transpose(a + first * a_columns, here, a_columns, at.data());
    transpose(b + first * b_columns, here, b_columns, bt.data());
    Gemm gemm;
    gemm.m = a_columns, gemm.n = b_columns, gemm.k = here;
    gemm.a = at.data(), gemm.lda = here;
    gemm.w = bt.data(), gemm.ldw = here;
    gemm.out = product.data(), gemm.ldo = b_columns;
    cpu_ops().gemm(gemm);
    for (size_t i = 0; i < out.size(); ++i) out[i] += double(product[i]);
  }
}

void multiply_rows(const float* a, const float* w, int64_t rows, int64_t columns, int64_t outputs, float* out) {
  Gemm gemm;
  gemm.m = rows, gemm.n = outputs, gemm.k = columns;
  gemm.a = a, gemm.lda = columns;
  gemm.w = w, gemm.ldw = columns;
  gemm.out = out, gemm.ldo = outputs;
  cpu_ops().gemm(gemm);
}

void add_compensation(const Compensation& added, const VisualRows& rows) {
  const auto hidden = int64_t(added.bias.size());
  const auto converted = [&](const std::vector<float>& values) {
    std::vector<std::byte> out(values.size() * size_of(rows.type));
    from_float(values.data(), values.size(), rows.type, out.data());
    return out;
  };
  if (added.rank > 0) {
    const std::vector<std::byte> down = converted(added.down), up = converted(added.up);
    std::vector<std::byte> inner(size_t(rows.rows * added.rank) * size_of(rows.type));
    Gemm first;
    first.type = first.out_type = rows.type;
    first.m = rows.rows, first.n = added.rank, first.k = hidden;
    first.a = rows.normed, first.lda = hidden;
    first.w = down.data(), first.ldw = hidden;
    first.out = inner.data(), first.ldo = added.rank;
    cpu_ops().gemm(first);
    Gemm second;
    second.type = rows.type;
    second.m = rows.rows, second.n = hidden, second.k = added.rank;
    second.a = inner.data(), second.lda = added.rank;
    second.w = up.data(), second.ldw = added.rank;
    second.out = rows.x, second.ldo = hidden;
    second.accumulate = true;
    cpu_ops().gemm(second);
  }
  cpu_ops().add_bias(rows.x, added.bias.data(), rows.rows, hidden);
}

}  // namespace yopo::runtime
