#include "compress/make_plan.h"

#include <algorithm>

#include "core/error.h"
#include "core/version.h"

namespace yopo {
namespace {

Json keep_to_json(const Keep& keep) { return keep.fraction ? Json(keep.value) : Json(int64_t(keep.value)); }
std::string_view name_of(Scope scope) { return scope == Scope::Layer ? "layer" : "model"; }

Json heads_to_json(const HeadOptions& options) {
  Json json = Json::object();
  if (options.keep) {
    json["keep"] = keep_to_json(*options.keep);
    json["scope"] = name_of(options.scope);
  }
  if (options.threshold) {
    json["threshold"] = *options.threshold;
    json["vote"] = options.vote;
  }
  if (options.exempt_layers) json["exempt_layers"] = *options.exempt_layers;
  // The name alone: where the file lay says nothing about what was in it, and the plan holds the mask itself.
  if (!options.mask.empty()) json["mask"] = options.mask.filename().string();
  return json;
}

Json options_to_json(const PlanOptions& options) {
  Json json = Json::object();
  if (options.window) json["window"] = window_to_json(Window{options.window->size, options.window->causal});
  if (options.heads) json["heads"] = heads_to_json(*options.heads);
  if (options.updates) json["updates"] = heads_to_json(*options.updates);
  if (options.ffn) {
    Json ffn = Json::object();
    ffn["keep"] = keep_to_json(options.ffn->keep);
    ffn["score"] = name_of(options.ffn->score);
    ffn["scope"] = name_of(options.ffn->scope);
    json["ffn"] = std::move(ffn);
  }
  if (options.visual_layers) json["visual_layers"] = *options.visual_layers;
  return json;
}

}  // namespace

bool needs_statistics(const PlanOptions& options) {
  const auto ranked = [](const std::optional<HeadOptions>& heads) { return heads && heads->mask.empty(); };
  return ranked(options.heads) || ranked(options.updates) || options.ffn;
}

Statistics no_statistics(const DecoderSpec& spec) {
  Statistics none;
  none.layers = spec.num_hidden_layers;
  none.heads = spec.num_attention_heads;
  none.intermediate_size = spec.intermediate_size;
  return none;
}

Plan make_plan(const Statistics& statistics, const PlanOptions& options, const DecoderSpec& spec,
               const std::string& where) {
  require(statistics.layers == spec.num_hidden_layers && statistics.heads == spec.num_attention_heads &&
              statistics.intermediate_size == spec.intermediate_size,
          "{}: the statistics are of another model: {} layers, {} heads, {} neurons, but this one has {}, {}, {}",
          where, statistics.layers, statistics.heads, statistics.intermediate_size, spec.num_hidden_layers,
          spec.num_attention_heads, spec.intermediate_size);
  Plan plan = dense_plan(spec);
  plan.semantics = parse_semantics(options.semantics, where);
  if (options.window) {
    require(options.window->size >= 1 && options.window->size % 2 == 1,
            "{}: window: size: expected an odd number, found {}", where, options.window->size);
    plan.window = Window{options.window->size, options.window->causal};
  }
  if (options.visual_layers) {
    require(*options.visual_layers >= 0 && *options.visual_layers <= spec.num_hidden_layers,
            "{}: visual_layers: {} is out of range; the model has {} layers", where, *options.visual_layers,
            spec.num_hidden_layers);
    plan.visual_layers = *options.visual_layers;
  }
  if (options.heads) plan.heads = select_heads(statistics, *options.heads, where + ": heads", plan.visual_layers);
  // Before `updates` are chosen, so that these are ones past visual_layers, too. The published simulations apply their
  // masks in every layer, so their plans keep them.
  if (plan.semantics == Semantics::Skip)
    for (int64_t layer = plan.visual_layers; layer < spec.num_hidden_layers; ++layer)
      std::fill(plan.heads[size_t(layer)].begin(), plan.heads[size_t(layer)].end(), uint8_t(1));
  if (options.updates) {
    plan.updates = select_updates(statistics, *options.updates, plan.heads, where + ": updates", plan.visual_layers);
    if (plan.semantics == Semantics::Skip)
      std::copy(plan.heads.begin() + plan.visual_layers, plan.heads.end(), plan.updates->begin() + plan.visual_layers);
  }
  if (options.ffn) {
    plan.ffn = select_neurons(statistics, *options.ffn, where + ": ffn", plan.visual_layers);
    if (plan.semantics == Semantics::Skip)
      std::fill(plan.ffn.begin() + plan.visual_layers, plan.ffn.end(), std::nullopt);
  }
  plan.provenance["tool"] = fmt::format("yopo {}", tool_version);
  plan.provenance["statistics"] = statistics.fingerprint;
  plan.provenance["samples"] = statistics.samples();
  plan.provenance["queries"] = name_of(statistics.queries);
  plan.provenance["options"] = options_to_json(options);
  check_plan(plan, spec, where);
  return plan;
}

}  // namespace yopo
