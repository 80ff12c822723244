#include "runtime/cpu/attention_block.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace yopo::runtime::cpu {

void PackedSegment::pack(const Kernels& set, const void* keys, const void* values, DType type, int64_t count,
                         int64_t dim, int64_t stride) {
  const bool bf16 = type == DType::BF16;
  const int64_t width = padded_width(dim);
  count_ = count;
  padded_ = (count + set.width - 1) / set.width * set.width;
  keys_.resize(size_t(padded_ * dim));
  if (count == 0) return;
  set.pack_keys(keys, bf16, count, dim, stride, keys_.data());
  values_ = static_cast<const float*>(values);
  if (!bf16 && width == dim && stride == dim) return;
  own_values_.resize(size_t(count * width));
  values_ = own_values_.data();
  if (width != dim) std::fill(own_values_.begin(), own_values_.end(), 0.0f);
  set.widen(values, bf16, count, dim, stride, 1.0f, own_values_.data(), width);
}

QueryBlock::QueryBlock(const Kernels& set, int64_t dim)
    : set_(set),
      dim_(dim),
      width_(padded_width(dim)),
      q_(size_t(block_rows * dim)),
      out_(size_t(block_rows * width_)) {}

int64_t QueryBlock::run(const void* q, int64_t q_stride, void* out, int64_t out_stride, DType type, int64_t rows,
                        const PackedSegment& steady, const int64_t* steady_limit, const PackedSegment& growing,
                        const int64_t* growing_limit) {
  const bool bf16 = type == DType::BF16;
  const int64_t steady_keys = steady_limit[rows - 1], growing_keys = growing_limit[rows - 1];
  ensure(rows <= block_rows && steady_keys <= steady.count() && growing_keys <= growing.count(),
         "query block outside its keys");
  const auto padded = [&](int64_t keys) { return (keys + set_.width - 1) / set_.width * set_.width; };
  const int64_t steady_width = padded(steady_keys), row_width = steady_width + padded(growing_keys);
  if (scores_.size() < size_t(block_rows * row_width)) scores_.resize(size_t(block_rows * row_width));

  set_.widen(q, bf16, rows, dim_, q_stride, 1.0f / std::sqrt(float(dim_)), q_.data(), dim_);
  set_.scores(q_.data(), rows, dim_, dim_, steady.keys(), steady_keys, scores_.data(), row_width);
  set_.scores(q_.data(), rows, dim_, dim_, growing.keys(), growing_keys, scores_.data() + steady_width, row_width);

  float sums[block_rows];
  set_.softmax(scores_.data(), rows, row_width, steady_limit, steady_width, growing_limit, sums);
  int64_t pairs = 0;
  for (int64_t row = 0; row < rows; ++row) pairs += steady_limit[row] + growing_limit[row];

  std::fill_n(out_.begin(), rows * width_, 0.0f);
  set_.weigh(scores_.data(), rows, steady_keys, row_width, steady.values(), width_, out_.data(), width_);
  set_.weigh(scores_.data() + steady_width, rows, growing_keys, row_width, growing.values(), width_, out_.data(),
             width_);
  for (int64_t row = 0; row < rows; ++row)
    set_.narrow(out_.data() + row * width_, dim_, 1.0f / sums[row], bf16, offset(out, type, row * out_stride));
  return pairs;
}

QueryRow::QueryRow(const Kernels& set, DType type, int64_t dim)
    : set_(set), bf16_(type == DType::BF16), dim_(dim), q_(size_t(dim)), out_(size_t(dim)) {}

void QueryRow::begin(const void* q) {
  set_.widen(q, bf16_, 1, dim_, dim_, 1.0f / std::sqrt(float(dim_)), q_.data(), dim_);
  count_ = 0;
  runs_.clear();
}

void QueryRow::read(const void* keys, const void* values, int64_t count, int64_t stride) {
  if (count <= 0) return;
  if (scores_.size() < size_t(count_ + count)) scores_.resize(size_t(count_ + count) * 2);
  set_.dots(q_.data(), keys, bf16_, count, dim_, stride, scores_.data() + count_);
  runs_.push_back({values, count_, count, stride});
  count_ += count;
}

int64_t QueryRow::finish(void* out) {
  const float top = set_.largest(scores_.data(), count_);
  const float sum = set_.exponentials(scores_.data(), count_, top);
  std::fill(out_.begin(), out_.end(), 0.0f);
  for (const Run& run : runs_)
    set_.blend(scores_.data() + run.first, run.values, bf16_, run.count, dim_, run.stride, out_.data());
  set_.narrow(out_.data(), dim_, 1.0f / sum, bf16_, out);
  return count_;
}

}  // namespace yopo::runtime::cpu
