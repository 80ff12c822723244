#include "runtime/read_attention.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "runtime/decoder.h"

namespace yopo::runtime {
namespace {

std::vector<float> floats_at(const EngineState& state, const void* data, int64_t count) {
  std::vector<std::byte> bytes(size_t(count) * size_of(state.type()));
  state.ops->download(bytes.data(), data, bytes.size());
  std::vector<float> values(static_cast<size_t>(count));
  to_float(bytes.data(), state.type(), values.size(), values.data());
  return values;
}

double dot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

/// Adds the softmax of `scores` to the first sums.size() of them.
void add_softmax(std::vector<double> scores, std::vector<double>& sums) {
  const double most = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double& score : scores) total += score = std::exp(score - most);
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += scores[i] / total;
}

/// A segment's keys: [heads, count, head_dim].
std::vector<float> keys_of(const EngineState& state, const KvSegment& segment, int64_t dim) {
  std::vector<float> keys;
  for (int64_t head = 0; head < segment.heads; ++head) {
    const void* from = offset(static_cast<const void*>(segment.keys), state.type(), head * segment.stride * dim);
    const std::vector<float> own = floats_at(state, from, segment.count * dim);
    keys.insert(keys.end(), own.begin(), own.end());
  }
  return keys;
}

}  // namespace

std::vector<float> row_attention(const EngineState& state, const std::vector<float>& query, const KvSegment& visual,
                                 const KvSegment& text) {
  const DecoderSpec& spec = state.spec.text;
  const int64_t dim = spec.head_dim, heads = spec.num_attention_heads;
  std::vector<double> sums(size_t(visual.count), 0.0);
  if (sums.empty()) return {};
  ensure(visual.heads == spec.num_key_value_heads, "attention of a dense layer");
  const std::vector<float> visual_keys = keys_of(state, visual, dim), text_keys = keys_of(state, text, dim);
  const double scale = 1 / std::sqrt(double(dim));
  for (int64_t head = 0; head < heads; ++head) {
    const int64_t group = head / spec.group_size();
    std::vector<double> scores;
    for (int64_t i = 0; i < visual.count; ++i)
      scores.push_back(scale *
                       dot(query.data() + head * dim, visual_keys.data() + (group * visual.count + i) * dim, dim));
    for (int64_t i = 0; i < text.count; ++i)
      scores.push_back(scale * dot(query.data() + head * dim, text_keys.data() + (group * text.count + i) * dim, dim));
    add_softmax(std::move(scores), sums);
  }
  std::vector<float> mean;
  for (const double sum : sums) mean.push_back(float(sum / double(heads)));
  return mean;
}

std::vector<float> class_row_attention(const EngineState& state, const void* q, const void* k, int64_t patches) {
  const VisionSpec& v = state.spec.vision;
  const int64_t width = v.hidden_size, dim = v.head_dim(), merged = v.merge_size * v.merge_size;
  const std::vector<float> query = floats_at(state, q, width), keys = floats_at(state, k, (1 + patches) * width);
  std::vector<double> sums(size_t(patches), 0.0);
  const double scale = 1 / std::sqrt(double(dim));
  for (int64_t head = 0; head < v.num_attention_heads; ++head) {
    std::vector<double> scores;  // the class row's own last
    for (int64_t row = 1; row <= patches; ++row)
      scores.push_back(scale * dot(query.data() + head * dim, keys.data() + row * width + head * dim, dim));
    scores.push_back(scale * dot(query.data() + head * dim, keys.data() + head * dim, dim));
    add_softmax(std::move(scores), sums);
  }
  std::vector<float> tokens;  // the patches of a token are neighbours
  for (int64_t first = 0; first < patches; first += merged) {
    double sum = 0;
    for (int64_t i = 0; i < merged; ++i) sum += sums[size_t(first + i)];
    tokens.push_back(float(sum / double(v.num_attention_heads * merged)));
  }
  return tokens;
}

std::vector<std::vector<float>> read_last_rows(const EngineState& state, const std::vector<ModelInput>& inputs,
                                               int64_t layer) {
  const DecoderSpec& spec = state.spec.text;
  ensure(layer >= 0 && layer < spec.num_hidden_layers, "a layer of the model");
  const Layout layout = make_layout(inputs, std::vector<SharedPrefix>(inputs.size()));
  std::vector<Request> live;
  std::vector<Request*> requests;
  live.reserve(inputs.size());
  for (const ModelInput& input : inputs) {
    live.push_back({KvCache(spec, state.layers, {input.visual_tokens()}, input.text_tokens(), state.type(), *state.ops,
                            &state.memory),
                    input.next_position(), input.length(), true});
    requests.push_back(&live.back());
  }
  Decoder decoder(state, requests, &layout);
  embed_inputs(state, inputs, layout, decoder.x(), nullptr, decoder.deep());
  std::vector<int64_t> lengths;
  for (const ModelInput& input : inputs) lengths.push_back(input.length());
  decoder.place(inputs, lengths);
  std::vector<std::vector<float>> attention;
  decoder.watch_queries(layer, [&](const Decoder::Queries& queries) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const RequestRows& rows = layout.requests[i];
      const KvCache& cache = live[i].cache;
      // Behind all pictures: the last row reads every visual token.
      ensure(rows.row_of.back() >= layout.visual_rows, "a prompt that ends with text");
      const std::vector<float> row =
          floats_at(state, offset(queries.q, state.type(), rows.row_of.back() * queries.stride), queries.stride);
      std::vector<float> query;  // in the order of heads
      for (const int32_t column : queries.column)
        query.insert(query.end(), row.begin() + column, row.begin() + column + spec.head_dim);
      attention.push_back(row_attention(state, query, cache.visual(layer), cache.text(layer, rows.text_rows)));
    }
  });
  Cost not_counted;
  decoder.issue_layers(not_counted, {}, 0, layer + 1);
  (void)decoder.take_attention_macs();
  return attention;
}

}  // namespace yopo::runtime
