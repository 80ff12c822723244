// Rows of heads that stand in another order and further apart than one behind the other.
#pragma once

#include <cstdint>
#include <vector>

namespace yopo::testing {

class HeadRows {
 public:
  HeadRows(int64_t heads, int64_t head_dim) : stride(heads * head_dim + 32), heads_(heads), head_dim_(head_dim) {
    for (int64_t head = 0; head < heads; ++head) column.push_back(int32_t((heads - 1 - head) * head_dim + 16));
  }
  /// rows [.., heads * head_dim] as these, with `fill` between them.
  std::vector<float> spread(const std::vector<float>& rows, float fill) const {
    const int64_t width = heads_ * head_dim_, count = int64_t(rows.size()) / width;
    std::vector<float> out(size_t(count * stride), fill);
    for (int64_t row = 0; row < count; ++row)
      for (int64_t i = 0; i < width; ++i) out[size_t(place(row, i))] = rows[size_t(row * width + i)];
    return out;
  }
  /// The other way.
  std::vector<float> gathered(const std::vector<float>& spread_rows) const {
    const int64_t width = heads_ * head_dim_, count = int64_t(spread_rows.size()) / stride;
    std::vector<float> rows(size_t(count * width));
    for (int64_t row = 0; row < count; ++row)
      for (int64_t i = 0; i < width; ++i) rows[size_t(row * width + i)] = spread_rows[size_t(place(row, i))];
    return rows;
  }
  /// Whether all that lies between the heads is `fill`.
  bool untouched(const std::vector<float>& spread_rows, float fill) const {
    return spread(gathered(spread_rows), fill) == spread_rows;
  }

  int64_t stride;
  std::vector<int32_t> column;

 private:
  int64_t place(int64_t row, int64_t i) const { return row * stride + column[size_t(i / head_dim_)] + i % head_dim_; }

  int64_t heads_, head_dim_;
};

}  // namespace yopo::testing
