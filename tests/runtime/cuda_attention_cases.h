// Prefill problems for tests of attention kernels: built from prompts, on the device and on the host at once, with the
// result by plain loops in double precision and the error that each of its numbers may have.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "runtime/ops.h"
#include "tests/runtime/cuda_arrays.h"
#include "tests/runtime/head_rows.h"

namespace yopo::testing {

/// A stretch of a prompt: text tokens, or an image of rows x columns tokens.
struct Piece {
  int64_t text = 0, rows = 0, columns = 0;
};
inline Piece text(int64_t tokens) { return {tokens}; }
inline Piece image(int64_t rows, int64_t columns) { return {0, rows, columns}; }
using Prompt = std::vector<Piece>;

/// What a layer has of a request's visual tokens: rows and keys, only keys (no head is updated), nothing (past
/// visual_layers).
enum class Visual { Computed, Read, Absent };

struct PrefillCase {
  DType type = DType::F32;
  int64_t heads = 2, kv_heads = 2, head_dim = 16, visual_heads = 2;
  std::vector<uint8_t> kept{1, 1}, updated{1, 1};
  int64_t window_radius = -1;
  bool window_causal = false;
  std::vector<Prompt> prompts;
  Visual visual = Visual::Computed;
  int64_t text_before = 0;                             // text keys of each request before its first text row
  float sharpness = 1;                                 // of the softmax: scales the queries
  int64_t text_keys = 1 << 30, visual_keys = 1 << 30;  // keys and values past these of each request are NaN
  bool spread = false;                                 // queries and outputs stand as HeadRows has them
};

/// One weighted mean of values in double, and how far a kernel may be from it.
struct Mean {
  double value, tolerance;
};
/// The bound: fp32 within 1e-5 of the mean of |values|. With 16 bits besides: each weight rounded to them (relative to
/// the mean of |values|; in fp16, small weights to steps of 2^-24), and the result rounded once.
inline Mean weighted_mean(DType type, const std::vector<double>& weights, const std::vector<double>& values) {
  double sum = 0, mean = 0, size = 0, largest = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    sum += weights[i];
    mean += weights[i] * values[i];
    size += weights[i] * std::abs(values[i]);
    largest = std::max(largest, std::abs(values[i]));
  }
  mean /= sum, size /= sum;
  const double half_step = type == DType::BF16 ? 0x1p-8 : type == DType::F16 ? 0x1p-11 : 0;
  const double least = type == DType::F16 ? 0x1p-25 * (double(weights.size()) * largest + 1) : 0;
  return {mean, 1e-5 * size + 1e-7 + half_step * (size + std::abs(mean)) * 1.01 + least};
}

/// Passes if every element is within its own tolerance; where that is 0, equal.
inline ::testing::AssertionResult within(const std::vector<float>& actual, const std::vector<Mean>& expected) {
  std::vector<double> excess, none(expected.size(), 0.0);
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    const double difference = std::abs(double(actual[i]) - expected[i].value);
    excess.push_back(difference == 0 ? 0 : difference / expected[i].tolerance);
  }
  auto result = close(excess, none, 1);
  if (!result) result << " (in units of what is allowed)";
  return result;
}

/// Softmax weights, not normalised, of q against rows of keys.
inline std::vector<double> softmax_weights(const float* q, const std::vector<const float*>& keys, int64_t dim) {
  std::vector<double> weights;
  double top = -INFINITY;
  for (const float* key : keys) {
    double score = 0;
    for (int64_t d = 0; d < dim; ++d) score += double(q[d]) * key[d];
    weights.push_back(score / std::sqrt(double(dim)));
    top = std::max(top, weights.back());
  }
  for (double& weight : weights) weight = std::exp(weight - top);
  return weights;
}

/// What must not be read is NaN: rows past those in use, visual rows of KV heads that no kept head reads, queries of
/// heads that are not updated. What must not be written is `untouched`: those heads' output, and rows around all
/// requests.
class PrefillProblem {
 public:
  static constexpr float untouched = 9;

  explicit PrefillProblem(const PrefillCase& c) : c_(c), places_(c.heads, c.head_dim) {
    int64_t row = 2;  // a gap before the first request and after every part
    for (const Prompt& prompt : c.prompts) row = lay_out(prompt, row);
    rows_ = row;
    q_ = draw(random_, rows_ * c.heads * c.head_dim, c.type, c.sharpness);
    for (const auto& part : parts_)
      for (int64_t r = part.request.visual_row; r < part.request.visual_row + part.request.visual_rows; ++r)
        for (int64_t head = 0; head < c.heads; ++head)
          if (!c.updated[size_t(head)]) std::fill_n(q_.begin() + (r * c.heads + head) * c.head_dim, c.head_dim, NAN);
    out_.assign(q_.size(), untouched);
    if (c.spread) q_rows_ = places_.spread(q_, NAN), out_rows_ = places_.spread(out_, untouched);
    for (Part& part : parts_) {
      host_.push_back(fill(part, false));
      device_.push_back(fill(part, true));
    }
  }

  runtime::PrefillAttention call(bool device, uint64_t* pairs) {
    runtime::PrefillAttention call;
    call.type = device ? c_.type : DType::F32;
    call.heads = c_.heads, call.kv_heads = c_.kv_heads, call.head_dim = c_.head_dim;
    std::vector<float>&q = c_.spread ? q_rows_ : q_, &out = c_.spread ? out_rows_ : out_;
    call.q = device ? put(q, c_.type) : q.data(), call.out = device ? put(out, c_.type) : out.data();
    call.q_places.stride = call.out_places.stride = c_.spread ? places_.stride : c_.heads * c_.head_dim;
    if (c_.spread)
      call.q_places.column = call.out_places.column =
          device ? static_cast<int32_t*>(put(places_.column)) : places_.column.data();
    call.kept = device ? static_cast<uint8_t*>(put(c_.kept)) : c_.kept.data();
    call.updated = device ? static_cast<uint8_t*>(put(c_.updated)) : c_.updated.data();
    call.window_radius = c_.window_radius, call.window_causal = c_.window_causal;
    call.requests = device ? device_ : host_;
    call.pairs = pairs;
    return call;
  }
  /// Of a device call's `out`.
  std::vector<float> floats(const void* out) const {
    for (const OnDevice& array : arrays_)
      if (array.data() == out) return in_order(array.floats());
    throw std::logic_error("not an array of this problem");
  }
  /// Where a request's visual and text rows begin in `out`.
  int64_t visual_at(size_t request) const { return parts_[request].request.visual_row * c_.heads * c_.head_dim; }
  int64_t text_at(size_t request) const { return parts_[request].request.text_row * c_.heads * c_.head_dim; }
  std::vector<float> host_out() const { return c_.spread ? in_order(out_rows_) : out_; }

  /// The result by plain loops; adds the pairs.
  std::vector<Mean> expected(DType type, uint64_t* pairs) const {
    std::vector<Mean> result(q_.size(), {untouched, 0});
    for (const Part& part : parts_)
      for (int64_t head = 0; head < c_.heads; ++head) {
        const int64_t kv_head = head / (c_.heads / c_.kv_heads);
        const bool seen = kv_head < c_.visual_heads && part.request.visual.count > 0;
        for (int64_t r = 0; r < part.request.text_rows; ++r)
          *pairs += row(
              type, part, head, kv_head, part.request.text_row + r, c_.text_before + r + 1,
              [&](int64_t key) { return seen && c_.kept[size_t(head)] && key < part.visual_before_text[size_t(r)]; },
              result);
        for (int64_t r = 0; r < part.request.visual_rows && c_.updated[size_t(head)]; ++r)
          *pairs += row(
              type, part, head, kv_head, part.request.visual_row + r, part.text_before_visual[size_t(r)],
              [&](int64_t key) { return seen && visual_reads(part, r, key); }, result);
      }
    return result;
  }

 private:
  struct Part {
    runtime::PrefillRequest request;
    std::vector<int32_t> visual_before_text, text_before_visual, image_of_visual;
    std::vector<runtime::ImageGrid> images;
    std::vector<float> rows[4];  // text keys, text values, visual keys, visual values: [heads][stride][head_dim]
  };

  std::vector<float> in_order(const std::vector<float>& rows) const {
    if (!c_.spread) return rows;
    if (!places_.untouched(rows, untouched)) throw std::logic_error("written between the heads");
    return places_.gathered(rows);
  }

  int64_t lay_out(const Prompt& prompt, int64_t row) {
    Part& part = parts_.emplace_back();
    int32_t texts = 0, visuals = 0;
    for (const Piece& piece : prompt) {
      part.visual_before_text.insert(part.visual_before_text.end(), size_t(piece.text), visuals);
      texts += int32_t(piece.text);
      const int64_t tokens = piece.rows * piece.columns;
      if (tokens == 0 || c_.visual == Visual::Absent) continue;
      part.text_before_visual.insert(part.text_before_visual.end(), size_t(tokens), texts);
      part.image_of_visual.insert(part.image_of_visual.end(), size_t(tokens), int32_t(part.images.size()));
      part.images.push_back({visuals, piece.rows, piece.columns});
      visuals += int32_t(tokens);
    }
    auto& request = part.request;
    request.visual_row = row, request.visual_rows = c_.visual == Visual::Computed ? visuals : 0;
    request.text_row = row + request.visual_rows + 1, request.text_rows = texts;
    request.text_before = c_.text_before;
    request.text = {nullptr, nullptr, c_.kv_heads, c_.text_before + texts + 3, c_.text_before + texts};
    request.visual = {nullptr, nullptr, c_.visual_heads, visuals + 5, visuals};
    for (int i = 0; i < 4; ++i) {
      const auto& segment = i < 2 ? request.text : request.visual;
      part.rows[i] = draw(random_, segment.heads * segment.stride * c_.head_dim, c_.type);
      for (int64_t head = 0; head < segment.heads; ++head) {
        const int64_t group = c_.heads / c_.kv_heads;
        const auto first = c_.kept.begin() + head * group;
        const bool read = i < 2 || std::any_of(first, first + group, [](uint8_t flag) { return flag != 0; });
        const auto at = part.rows[i].begin() + head * segment.stride * c_.head_dim;
        std::fill(at + (read ? std::min(segment.count, i < 2 ? c_.text_keys : c_.visual_keys) : 0) * c_.head_dim,
                  at + segment.stride * c_.head_dim, NAN);
      }
    }
    return request.text_row + texts + 1;
  }

  runtime::PrefillRequest fill(Part& part, bool device) {
    runtime::PrefillRequest request = part.request;
    const auto ints = [&](std::vector<int32_t>& values) {
      return device ? static_cast<int32_t*>(put(values)) : values.data();
    };
    const auto rows = [&](int i) { return device ? put(part.rows[i], c_.type) : part.rows[i].data(); };
    request.visual_before_text = ints(part.visual_before_text);
    request.text_before_visual = ints(part.text_before_visual);
    request.image_of_visual = ints(part.image_of_visual);
    request.images = device ? static_cast<runtime::ImageGrid*>(put(part.images)) : part.images.data();
    request.text.keys = rows(0), request.text.values = rows(1);
    request.visual.keys = rows(2), request.visual.values = rows(3);
    return request;
  }

  bool visual_reads(const Part& part, int64_t row, int64_t key) const {
    if (c_.window_radius < 0) return key <= row;
    if (part.image_of_visual[size_t(row)] != part.image_of_visual[size_t(key)]) return false;
    const auto& image = part.images[size_t(part.image_of_visual[size_t(row)])];
    const int64_t a = row - image.first, b = key - image.first;
    return std::abs(a / image.columns - b / image.columns) <= c_.window_radius &&
           std::abs(a % image.columns - b % image.columns) <= c_.window_radius && (!c_.window_causal || key <= row);
  }

  /// One query row: text keys [0, texts) and the visual keys that `reads` names. Returns the pairs.
  template <typename Reads>
  uint64_t row(DType type, const Part& part, int64_t head, int64_t kv_head, int64_t at, int64_t texts, Reads reads,
               std::vector<Mean>& result) const {
    std::vector<const float*> keys, values;
    const int64_t dim = c_.head_dim;
    for (int64_t key = 0; key < texts + part.request.visual.count; ++key) {
      const bool visual = key >= texts;
      if (visual && !reads(key - texts)) continue;
      const auto& segment = visual ? part.request.visual : part.request.text;
      const int64_t first = (kv_head * segment.stride + key - (visual ? texts : 0)) * dim;
      keys.push_back(part.rows[visual ? 2 : 0].data() + first);
      values.push_back(part.rows[visual ? 3 : 1].data() + first);
    }
    const int64_t first = (at * c_.heads + head) * dim;
    const auto weights = softmax_weights(q_.data() + first, keys, dim);
    std::vector<double> column(keys.size());
    for (int64_t d = 0; d < dim; ++d) {
      for (size_t i = 0; i < keys.size(); ++i) column[i] = values[i][d];
      result[size_t(first + d)] = weighted_mean(type, weights, column);
    }
    return keys.size();
  }

  void* put(const std::vector<float>& values, DType type) { return arrays_.emplace_back(values, type).data(); }
  template <typename T>
  void* put(const std::vector<T>& values) {
    return arrays_.emplace_back(values).data();
  }

  PrefillCase c_;
  std::mt19937 random_{17};
  int64_t rows_ = 0;
  std::vector<float> q_, out_;  // [rows, heads * head_dim]
  HeadRows places_;
  std::vector<float> q_rows_, out_rows_;  // the same as places_ has them
  std::deque<Part> parts_;
  std::deque<OnDevice> arrays_;
  std::vector<runtime::PrefillRequest> host_, device_;
};

}  // namespace yopo::testing
