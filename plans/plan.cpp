#include "plans/plan.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace yopo {
namespace {

constexpr std::array<std::pair<Semantics, std::string_view>, 3> semantics_names{
    {{Semantics::Skip, "skip"}, {Semantics::Llava, "llava"}, {Semantics::Qwen2Vl, "qwen2_vl"}}};

void check_flags(const HeadFlags& flags, std::string_view key, const DecoderSpec& spec, const std::string& place) {
  require(int64_t(flags.size()) == spec.num_attention_heads, "{}: {}: {} heads, but the model has {}", place, key,
          flags.size(), spec.num_attention_heads);
}

void check_layer(const LayerPlan& layer, const DecoderSpec& spec, const std::string& place) {
  if (layer.window)
    require(layer.window->size >= 1 && layer.window->size % 2 == 1, "{}: window: size {} is not odd and positive",
            place, layer.window->size);
  check_flags(layer.heads, "heads", spec, place);
  check_flags(layer.updates, "updates", spec, place);
  for (size_t head = 0; head < layer.heads.size(); ++head)
    require(!layer.updates[head] || layer.heads[head],
            "{}: updates: head {} is updated, but 'heads' drops it; updates lie within heads", place, head);
  if (const auto& added = layer.compensation) {
    const auto hidden = size_t(spec.hidden_size), rank = size_t(added->rank);
    require(layer.alive, "{}: compensation: no visual row is computed here", place);
    require(added->rank >= 0 && added->rank <= spec.hidden_size && added->down.size() == rank * hidden &&
                added->up.size() == rank * hidden && added->bias.size() == hidden,
            "{}: compensation: of {} values and rank {}, but the model's hidden_size is {}", place, added->bias.size(),
            added->rank, spec.hidden_size);
  }
  if (!layer.neurons) return;
  int64_t previous = -1;
  for (int64_t neuron : *layer.neurons) {
    require(neuron >= 0 && neuron < spec.intermediate_size, "{}: neurons: neuron {}, but the model has {}", place,
            neuron, spec.intermediate_size);
    require(neuron > previous, "{}: neurons: neuron {} after {}; indices must ascend", place, neuron, previous);
    previous = neuron;
  }
}

}  // namespace

int64_t ones(const HeadFlags& flags) { return std::count(flags.begin(), flags.end(), uint8_t(1)); }

bool LayerPlan::operator==(const LayerPlan& other) const {
  const bool compensated = compensation != nullptr;
  return window == other.window && heads == other.heads && updates == other.updates && neurons == other.neurons &&
         alive == other.alive && compensated == (other.compensation != nullptr) &&
         (!compensated || *compensation == *other.compensation);
}

std::string_view name_of(Semantics semantics) {
  for (const auto& [value, name] : semantics_names)
    if (value == semantics) return name;
  throw InternalError("a plan's semantics has no name");
}

Semantics parse_semantics(std::string_view name, const std::string& where) {
  std::vector<std::string> known;
  for (const auto& [semantics, text] : semantics_names) {
    if (text == name) return semantics;
    known.emplace_back(text);
  }
  fail("{}: semantics: unknown '{}'{} (known: {})", where, printable(name), did_you_mean(std::string(name), known),
       fmt::join(known, ", "));
}

LayerCounts layer_counts(const LayerPlan& layer, const DecoderSpec& spec) {
  LayerCounts counts;
  if (!layer.alive) return counts;
  counts.heads = ones(layer.heads);
  counts.updates = ones(layer.updates);
  for (int64_t group = 0; group < spec.num_key_value_heads; ++group) {
    const auto first = layer.heads.begin() + group * spec.group_size();
    counts.kv_heads += std::any_of(first, first + spec.group_size(), [](uint8_t flag) { return flag != 0; });
  }
  counts.neurons = layer.neurons ? int64_t(layer.neurons->size()) : spec.intermediate_size;
  counts.rank = layer.compensation ? layer.compensation->rank : 0;
  return counts;
}

int64_t visual_layers(const Plan& plan) {
  return std::count_if(plan.layers.begin(), plan.layers.end(), [](const LayerPlan& layer) { return layer.alive; });
}

HeadMask head_mask(const Plan& plan) {
  HeadMask mask;
  for (const LayerPlan& layer : plan.layers) mask.push_back(layer.heads);
  return mask;
}

HeadMask update_mask(const Plan& plan) {
  HeadMask mask;
  for (const LayerPlan& layer : plan.layers) mask.push_back(layer.updates);
  return mask;
}

void set_visual_layers(Plan& plan, int64_t count) {
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) plan.layers[layer].alive = int64_t(layer) < count;
}

void set_window(Plan& plan, const std::optional<Window>& window) {
  for (LayerPlan& layer : plan.layers) layer.window = window;
}

void set_heads(Plan& plan, const HeadMask& mask) {
  ensure(mask.size() == plan.layers.size(), "set_heads: a row for each layer");
  for (size_t layer = 0; layer < mask.size(); ++layer)
    plan.layers[layer].heads = plan.layers[layer].updates = mask[layer];
}

void set_updates(Plan& plan, const HeadMask& mask) {
  ensure(mask.size() == plan.layers.size(), "set_updates: a row for each layer");
  for (size_t layer = 0; layer < mask.size(); ++layer) plan.layers[layer].updates = mask[layer];
}

Plan dense_plan(const DecoderSpec& spec) {
  LayerPlan whole;
  whole.heads = whole.updates = HeadFlags(size_t(spec.num_attention_heads), 1);
  Plan plan;
  plan.layers.assign(size_t(spec.num_hidden_layers), whole);
  return plan;
}

bool is_dense(const Plan& plan, const DecoderSpec& spec) {
  const auto whole = [&](const LayerPlan& layer) {
    return layer.alive && !layer.window && !layer.compensation && ones(layer.heads) == spec.num_attention_heads &&
           ones(layer.updates) == spec.num_attention_heads &&
           (!layer.neurons || int64_t(layer.neurons->size()) == spec.intermediate_size);
  };
  return int64_t(plan.layers.size()) == spec.num_hidden_layers &&
         std::all_of(plan.layers.begin(), plan.layers.end(), whole);
}

bool is_compensated(const Plan& plan) {
  return std::any_of(plan.layers.begin(), plan.layers.end(),
                     [](const LayerPlan& layer) { return layer.compensation != nullptr; });
}

void check_plan(const Plan& plan, const DecoderSpec& spec, const std::string& where) {
  require(plan.semantics == Semantics::Skip || !is_compensated(plan),
          "{}: compensation goes with semantics 'skip', found '{}'", where, name_of(plan.semantics));
  require(int64_t(plan.layers.size()) == spec.num_hidden_layers, "{}: {} layers, but the model has {}", where,
          plan.layers.size(), spec.num_hidden_layers);
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    check_layer(plan.layers[layer], spec, fmt::format("{}: layer {}", where, layer));
    require(layer == 0 || !plan.layers[layer].alive || plan.layers[layer - 1].alive,
            "{}: layer {} is alive after layer {}, which is not; visual tokens that are gone do not come back", where,
            layer, layer - 1);
  }
}

}  // namespace yopo
