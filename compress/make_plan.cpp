#include "compress/make_plan.h"

#include "core/error.h"
#include "core/version.h"
#include "plans/option_schema.h"

namespace yopo {

Plan assemble_plan(const PlanOptions& options, const DecoderSpec& spec, int64_t visual, const Chooser& chooser,
                   const OptionPlace& place) {
  Plan plan = dense_plan(spec);
  plan.semantics = parse_semantics(options.semantics, place.all());
  set_visual_layers(plan, visual);
  if (options.window) {
    require(options.window->size >= 1 && options.window->size % 2 == 1, "{}: expected an odd number, found {}",
            place.section("window").of("size"), options.window->size);
    set_window(plan, Window{options.window->size, options.window->causal});
  }
  // The published simulations apply their masks in every layer, so their plans keep them past `visual`, too.
  const size_t chosen = plan.semantics == Semantics::Skip ? size_t(visual) : plan.layers.size();
  if (options.heads) {
    const HeadMask mask = chooser.heads(*options.heads, head_mask(plan), false, place.section("heads"));
    for (size_t l = 0; l < chosen; ++l) plan.layers[l].heads = plan.layers[l].updates = mask[l];
  }
  if (options.updates) {
    const HeadMask mask = chooser.heads(*options.updates, head_mask(plan), true, place.section("updates"));
    for (size_t l = 0; l < chosen; ++l) plan.layers[l].updates = mask[l];
  }
  if (options.ffn) {
    const auto neurons = chooser.neurons(*options.ffn, place.section("ffn"));
    for (size_t l = 0; l < chosen; ++l) plan.layers[l].neurons = neurons[l];
  }
  check_plan(plan, spec, place.all());
  return plan;
}

Plan make_plan(const Statistics& statistics, const PlanOptions& options, const DecoderSpec& spec,
               const OptionPlace& place) {
  require(fits(statistics, spec),
          "{}: the statistics are of another model: {} layers, {} heads, {} neurons, but this one has {}, {}, {}",
          place.all(), statistics.layers, statistics.heads, statistics.intermediate_size, spec.num_hidden_layers,
          spec.num_attention_heads, spec.intermediate_size);
  require(!options.budget, "{}: a budget is met by a search, which runs the model on the samples of a recipe",
          place.of("budget"));
  const int64_t visual = visual_layer_count(options, spec.num_hidden_layers, place);
  Chooser chooser;
  chooser.heads = [&](const HeadOptions& heads, const HeadMask& within, bool updates, const OptionPlace& section) {
    return updates ? select_updates(statistics, heads, within, section, visual)
                   : select_heads(statistics, heads, section, visual);
  };
  chooser.neurons = [&](const FfnOptions& ffn, const OptionPlace& section) {
    return select_neurons(statistics, ffn, section, visual);
  };
  Plan plan = assemble_plan(options, spec, visual, chooser, place);
  plan.provenance["tool"] = fmt::format("yopo {}", tool_version);
  plan.provenance["statistics"] = statistics.fingerprint;
  plan.provenance["samples"] = statistics.samples();
  plan.provenance["queries"] = name_of(statistics.queries);
  plan.provenance["options"] = plan_options_json(options);
  return plan;
}

bool needs_statistics(const PlanOptions& options) {
  const auto ranked = [](const std::optional<HeadOptions>& heads) { return heads && heads->mask.empty(); };
  return options.budget || ranked(options.heads) || ranked(options.updates) || options.ffn;
}

Statistics no_statistics(const DecoderSpec& spec) {
  Statistics none;
  none.layers = spec.num_hidden_layers;
  none.heads = spec.num_attention_heads;
  none.intermediate_size = spec.intermediate_size;
  return none;
}

}  // namespace yopo
