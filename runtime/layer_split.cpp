#include "runtime/layer_split.h"

#include <numeric>

#include "core/error.h"

namespace yopo::runtime {
namespace {

/// Heads that are not among `chosen`.
std::vector<int64_t> other_heads(const std::vector<int64_t>& chosen, int64_t heads) {
  std::vector<int64_t> others;
  size_t next = 0;
  for (int64_t head = 0; head < heads; ++head)
    if (next < chosen.size() && chosen[next] == head)
      ++next;
    else
      others.push_back(head);
  return others;
}

void add_heads(std::vector<MergedRow>& rows, Role role, int64_t first, int64_t count, int64_t dim) {
  for (int64_t row = first * dim; row < (first + count) * dim; ++row) rows.push_back({role, row});
}

}  // namespace

LayerSplit whole_split(const DecoderSpec& spec) {
  LayerSplit split{std::vector<int64_t>(size_t(spec.num_attention_heads)), spec.num_key_value_heads,
                   spec.intermediate_size};
  std::iota(split.updated.begin(), split.updated.end(), int64_t(0));
  return split;
}

std::vector<LayerSplit> splits_of(const std::vector<LayerSlices>& layers, const DecoderSpec& spec) {
  std::vector<LayerSplit> splits;
  for (const LayerSlices& layer : layers) {
    LayerSplit& split = splits.emplace_back();
    for (const Run& run : layer.updated_runs)
      for (int64_t head = run.first; head < run.first + run.count; ++head) split.updated.push_back(head);
    split.kv_heads = layer.counts.kv_heads;
    split.neurons = layer.counts.neurons;
    ensure(split.kv_heads <= spec.num_key_value_heads && split.neurons <= spec.intermediate_size, "a layer's counts");
  }
  return splits;
}

namespace {

/// Nothing where what is wanted is neither nothing nor all nor what was made.
std::optional<Reach> heads_reach(const LayerSplit& made, const LayerSplit& wanted, const LayerSplit& whole) {
  if (wanted.updated == made.updated && wanted.kv_heads == made.kv_heads) return Reach::Split;
  if (wanted.no_heads()) return Reach::None;
  if (wanted.updated == whole.updated && wanted.kv_heads == whole.kv_heads) return Reach::All;
  return std::nullopt;
}
std::optional<Reach> neurons_reach(const LayerSplit& made, const LayerSplit& wanted, const LayerSplit& whole) {
  if (wanted.neurons == made.neurons) return Reach::Split;
  if (wanted.neurons == 0) return Reach::None;
  if (wanted.neurons == whole.neurons) return Reach::All;
  return std::nullopt;
}

}  // namespace

std::optional<Reaches> reaches_of(const LayerSplit& made, const LayerSplit& wanted, const DecoderSpec& spec) {
  const LayerSplit whole = whole_split(spec);
  const std::optional<Reach> heads = heads_reach(made, wanted, whole), neurons = neurons_reach(made, wanted, whole);
  if (!heads || !neurons) return std::nullopt;
  return Reaches{*heads, *neurons};
}

bool serves(const std::vector<LayerSplit>& made, const std::vector<LayerSplit>& wanted, const DecoderSpec& spec) {
  ensure(made.size() == wanted.size(), "layers of one model");
  for (size_t layer = 0; layer < made.size(); ++layer)
    if (!reaches_of(made[layer], wanted[layer], spec)) return false;
  return true;
}

LayerColumns columns_of(const LayerSplit& split, const DecoderSpec& spec) {
  const int64_t dim = spec.head_dim, heads = spec.num_attention_heads, kv_heads = spec.num_key_value_heads;
  const int64_t updated = int64_t(split.updated.size()), shared = split.kv_heads;
  LayerColumns columns;
  columns.v = updated * dim, columns.v_heads = shared;
  columns.k = (updated + shared) * dim;
  columns.split = (updated + 2 * shared) * dim;
  columns.v_rest = (updated + kv_heads) * dim;  // that of head `shared` follows the last key
  columns.others = (updated + 2 * kv_heads) * dim;
  columns.stride = (heads + 2 * kv_heads) * dim;
  columns.q.resize(size_t(heads)), columns.out.resize(size_t(heads));
  const std::vector<int64_t> others = other_heads(split.updated, heads);
  for (int64_t i = 0; i < updated; ++i)
    columns.q[size_t(split.updated[size_t(i)])] = columns.out[size_t(split.updated[size_t(i)])] = int32_t(i * dim);
  for (int64_t i = 0; i < int64_t(others.size()); ++i) {
    columns.q[size_t(others[size_t(i)])] = int32_t(columns.others + i * dim);
    columns.out[size_t(others[size_t(i)])] = int32_t((updated + i) * dim);
  }
  return columns;
}

std::vector<MergedRow> qkv_rows(const LayerSplit& split, const DecoderSpec& spec) {
  const int64_t dim = spec.head_dim, kv_heads = spec.num_key_value_heads, shared = split.kv_heads;
  std::vector<MergedRow> rows;
  rows.reserve(size_t((spec.num_attention_heads + 2 * kv_heads) * dim));
  for (const int64_t head : split.updated) add_heads(rows, Role::Q, head, 1, dim);
  add_heads(rows, Role::V, 0, shared, dim);
  add_heads(rows, Role::K, 0, kv_heads, dim);
  add_heads(rows, Role::V, shared, kv_heads - shared, dim);
  for (const int64_t head : other_heads(split.updated, spec.num_attention_heads))
    add_heads(rows, Role::Q, head, 1, dim);
  return rows;
}

std::vector<MergedRow> gate_up_rows(const LayerSplit& split, const DecoderSpec& spec) {
  std::vector<MergedRow> rows;
  rows.reserve(size_t(2 * spec.intermediate_size));
  for (const auto& [first, last] :
       {std::pair(int64_t(0), split.neurons), std::pair(split.neurons, spec.intermediate_size)})
    for (const Role role : {Role::Gate, Role::Up})
      for (int64_t neuron = first; neuron < last; ++neuron) rows.push_back({role, neuron});
  return rows;
}

std::vector<int64_t> out_columns(const LayerSplit& split, const DecoderSpec& spec) {
  std::vector<int64_t> heads = split.updated, columns;
  const std::vector<int64_t> others = other_heads(split.updated, spec.num_attention_heads);
  heads.insert(heads.end(), others.begin(), others.end());
  for (const int64_t head : heads)
    for (int64_t i = 0; i < spec.head_dim; ++i) columns.push_back(head * spec.head_dim + i);
  return columns;
}

}  // namespace yopo::runtime
