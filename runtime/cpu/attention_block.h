// Blocks of queries against packed keys: what prefill and the vision tower share.
#pragma once

#include <vector>

#include "runtime/cpu/kernels.h"
#include "runtime/ops.h"

namespace yopo::runtime::cpu {

/// Keys as transposed tiles and values as padded rows, fp32: one head of one segment, packed once and read by every
/// block.
class PackedSegment {
 public:
  /// keys, values [count, dim] of `type`, rows `stride` elements apart. Values that already lie as they should are not
  /// copied: they must stay.
  void pack(const Kernels& set, const void* keys, const void* values, DType type, int64_t count, int64_t dim,
            int64_t stride);
  int64_t count() const { return count_; }
  int64_t padded() const { return padded_; }          // count rounded up to a tile
  const float* keys() const { return keys_.data(); }  // [padded / width][dim][width]
  const float* values() const { return values_; }     // [count][padded_width(dim)]

 private:
  int64_t count_ = 0, padded_ = 0;
  const float* values_ = nullptr;
  std::vector<float> keys_, own_values_;
};

inline int64_t padded_width(int64_t dim) { return (dim + 15) / 16 * 16; }

/// Up to `block_rows` query rows of one head, each reading a prefix of one segment's keys and a prefix of another's.
constexpr int64_t block_rows = 48;
class QueryBlock {
 public:
  QueryBlock(const Kernels& set, int64_t dim);
  /// q, out: first row of the block at its head's column; rows q_stride and out_stride elements apart. steady_limit,
  /// growing_limit [rows]: how many keys each row reads, not descending. Returns the pairs.
  int64_t run(const void* q, int64_t q_stride, void* out, int64_t out_stride, DType type, int64_t rows,
              const PackedSegment& steady, const int64_t* steady_limit, const PackedSegment& growing,
              const int64_t* growing_limit);

 private:
  const Kernels& set_;
  int64_t dim_, width_;
  std::vector<float> q_;       // [block_rows, dim]
  std::vector<float> scores_;  // [block_rows, steady | growing]
  std::vector<float> out_;     // [block_rows, width]
};

/// One query row that reads lists of runs of keys straight from the cache: decoding, and windows.
class QueryRow {
 public:
  QueryRow(const Kernels& set, DType type, int64_t dim);
  /// q [dim] at its head's column. Forgets the runs of the row before.
  void begin(const void* q);
  /// Adds keys and values [count, dim], rows `stride` apart.
  void read(const void* keys, const void* values, int64_t count, int64_t stride);
  /// Writes the softmax-weighted values to out [dim]. Returns the keys read.
  int64_t finish(void* out);

 private:
  struct Run {
    const void* values;
    int64_t first, count, stride;
  };
  const Kernels& set_;
  bool bf16_;
  int64_t dim_, count_ = 0;
  std::vector<float> q_;       // [dim]
  std::vector<float> scores_;  // [count]
  std::vector<float> out_;     // [dim]
  std::vector<Run> runs_;
};

}  // namespace yopo::runtime::cpu
