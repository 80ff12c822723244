#include "runtime/layer_slices.h"

#include <algorithm>

#include "core/error.h"

namespace yopo::runtime {
namespace {

std::vector<Run> runs_of(const std::vector<uint8_t>& flags, uint8_t wanted) {
  std::vector<Run> runs;
  for (int64_t i = 0; i < int64_t(flags.size()); ++i) {
    if ((flags[size_t(i)] != 0) != (wanted != 0)) continue;
    if (!runs.empty() && runs.back().first + runs.back().count == i)
      ++runs.back().count;
    else
      runs.push_back({i, 1});
  }
  return runs;
}

/// KV heads up to the last that is kept.
int64_t reaching(const LayerPlan& layer, const DecoderSpec& spec) {
  int64_t count = 0;
  for (int64_t head = 0; layer.alive && head < int64_t(layer.heads.size()); ++head)
    if (layer.heads[size_t(head)]) count = head / spec.group_size() + 1;
  return count;
}

bool kv_heads_first(const LayerPlan& layer, int64_t kv_heads, const DecoderSpec& spec) {
  const int64_t used = kv_heads * spec.group_size();
  return std::none_of(layer.heads.begin() + used, layer.heads.end(), [](uint8_t flag) { return flag != 0; });
}
bool neurons_first(const LayerPlan& layer) {
  return !layer.neurons || layer.neurons->empty() || layer.neurons->back() + 1 == int64_t(layer.neurons->size());
}

/// InternalError unless the KV heads and neurons that visual rows use are the first.
void check_prefixes(const LayerPlan& layer, const LayerCounts& counts, const DecoderSpec& spec) {
  ensure(kv_heads_first(layer, counts.kv_heads, spec), "a plan in prefix form has its kept KV heads first");
  ensure(neurons_first(layer), "a plan in prefix form has its neurons first");
}

}  // namespace

bool in_prefix_form(const Plan& plan, const DecoderSpec& spec) {
  return std::all_of(plan.layers.begin(), plan.layers.end(), [&](const LayerPlan& layer) {
    return !layer.alive || (kv_heads_first(layer, layer_counts(layer, spec).kv_heads, spec) && neurons_first(layer));
  });
}

std::vector<LayerSlices> slices_of(const Plan& plan, const DecoderSpec& spec, bool holes) {
  std::vector<LayerSlices> layers;
  for (const LayerPlan& layer : plan.layers) {
    LayerSlices& slices = layers.emplace_back();
    slices.plan = layer;
    slices.counts = layer_counts(layer, spec);
    if (holes) slices.counts.kv_heads = reaching(layer, spec);
    if (layer.alive)
      check_prefixes(layer, slices.counts, spec);
    else
      slices.plan.heads = slices.plan.updates = HeadFlags(size_t(spec.num_attention_heads), 0);
    slices.updated_runs = runs_of(slices.plan.updates, 1);
    slices.other_runs = runs_of(slices.plan.updates, 0);
  }
  return layers;
}

}  // namespace yopo::runtime
