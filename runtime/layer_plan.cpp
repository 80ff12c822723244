#include "runtime/layer_plan.h"

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

}  // namespace

std::vector<LayerPlan> layer_plans(const Plan& plan, const DecoderSpec& spec) {
  std::vector<LayerPlan> layers;
  const int64_t group = spec.group_size();
  for (int64_t l = 0; l < plan.layers(); ++l) {
    LayerPlan& layer = layers.emplace_back();
    const bool visual = l < plan.visual_layers;
    layer.kept = visual ? plan.heads[size_t(l)] : std::vector<uint8_t>(size_t(spec.num_attention_heads), 0);
    layer.updated = visual ? plan.updated()[size_t(l)] : layer.kept;
    layer.updated_runs = runs_of(layer.updated, 1);
    layer.other_runs = runs_of(layer.updated, 0);
    if (!visual) continue;
    for (int64_t kv = 0; kv < spec.num_key_value_heads; ++kv) {
      const auto first = layer.kept.begin() + kv * group;
      if (std::none_of(first, first + group, [](uint8_t flag) { return flag != 0; })) continue;
      ensure(kv == layer.visual_kv_heads, "a plan in prefix form has its kept KV heads first");
      ++layer.visual_kv_heads;
    }
    const auto& neurons = plan.ffn[size_t(l)];
    layer.neurons = neurons ? int64_t(neurons->size()) : spec.intermediate_size;
    ensure(!neurons || neurons->empty() || neurons->back() + 1 == layer.neurons,
           "a plan in prefix form has its neurons first");
  }
  return layers;
}

}  // namespace yopo::runtime
