#include "compress/make_plan.h"

#include "core/error.h"
#include "core/version.h"
#include "plans/option_schema.h"

namespace yopo {

Plan assemble_plan(const PlanOptions& options, const DecoderSpec& spec, int64_t visual, const Chooser& chooser,
                   const std::string& where) {
  Plan plan = dense_plan(spec);
  plan.semantics = parse_semantics(options.semantics, where);
  set_visual_layers(plan, visual);
  if (options.window) {
    require(options.window->size >= 1 && options.window->size % 2 == 1,
            "{}: window: size: expected an odd number, found {}", where, options.window->size);
    set_window(plan, Window{options.window->size, options.window->causal});
  }
  // The published simulations apply their masks in every layer, so their plans keep them past `visual`, too.
  const size_t chosen = plan.semantics == Semantics::Skip ? size_t(visual) : plan.layers.size();
  if (options.heads) {
    const HeadMask mask = chooser.heads(*options.heads, head_mask(plan), false, where + ": heads");
    for (size_t l = 0; l < chosen; ++l) plan.layers[l].heads = plan.layers[l].updates = mask[l];
  }
  if (options.updates) {
    const HeadMask mask = chooser.heads(*options.updates, head_mask(plan), true, where + ": updates");
    for (size_t l = 0; l < chosen; ++l) plan.layers[l].updates = mask[l];
  }
  if (options.ffn) {
    const auto neurons = chooser.neurons(*options.ffn, where + ": ffn");
    for (size_t l = 0; l < chosen; ++l) plan.layers[l].neurons = neurons[l];
  }
  check_plan(plan, spec, where);
  return plan;
}

Plan make_plan(const Statistics& statistics, const PlanOptions& options, const DecoderSpec& spec,
               const std::string& where) {
  require(fits(statistics, spec),
          "{}: the statistics are of another model: {} layers, {} heads, {} neurons, but this one has {}, {}, {}",
          where, statistics.layers, statistics.heads, statistics.intermediate_size, spec.num_hidden_layers,
          spec.num_attention_heads, spec.intermediate_size);
  const int64_t visual = visual_layer_count(options, spec.num_hidden_layers, where);
  Chooser chooser;
  chooser.heads = [&](const HeadOptions& heads, const HeadMask& within, bool updates, const std::string& place) {
    return updates ? select_updates(statistics, heads, within, place, visual)
                   : select_heads(statistics, heads, place, visual);
  };
  chooser.neurons = [&](const FfnOptions& ffn, const std::string& place) {
    return select_neurons(statistics, ffn, place, visual);
  };
  Plan plan = assemble_plan(options, spec, visual, chooser, where);
  plan.provenance["tool"] = fmt::format("yopo {}", tool_version);
  plan.provenance["statistics"] = statistics.fingerprint;
  plan.provenance["samples"] = statistics.samples();
  plan.provenance["queries"] = name_of(statistics.queries);
  plan.provenance["options"] = plan_options_json(options);
  return plan;
}

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

}  // namespace yopo
