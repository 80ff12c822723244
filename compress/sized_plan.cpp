// Plans of given sizes without statistics: for estimates, and for random choices at those sizes.
#include <algorithm>
#include <numeric>

#include "compress/make_plan.h"
#include "core/error.h"
#include "core/version.h"
#include "plans/option_schema.h"

namespace yopo {
namespace {

/// The first `count` of the heads that are there.
HeadFlags first_of(HeadFlags flags, int64_t count) {
  for (uint8_t& flag : flags)
    if (flag && count-- <= 0) flag = 0;
  return flags;
}

/// `total` spread as evenly as `most` of each allows, earlier ones first.
std::vector<int64_t> spread_evenly(int64_t total, const std::vector<int64_t>& most) {
  std::vector<int64_t> counts(most.size(), 0);
  for (bool room = true; total > 0 && room;) {
    room = false;
    for (size_t i = 0; i < most.size() && total > 0; ++i)
      if (counts[i] < most[i]) ++counts[i], --total, room = true;
  }
  return counts;
}

HeadMask heads_across_the_model(const HeadOptions& options, const HeadMask& within, bool updates, int64_t visual,
                                const OptionPlace& place) {
  const int64_t heads = int64_t(within.front().size()), exempt = std::min(exempt_layers(options), visual);
  const int64_t count =
      kept_count(*options.keep, visual * heads, "heads", fmt::format("that {} layers have", visual), place.of("keep"));
  int64_t spent = 0;
  std::vector<int64_t> most;
  for (int64_t l = 0; l < visual; ++l) {
    const int64_t there = ones(within[size_t(l)]);
    if (l < exempt)
      spent += there;
    else
      most.push_back(there);
  }
  require(count >= spent, "{}: {} heads in all, but the {} exempt layers alone keep {}", place.of("keep"), count,
          exempt, spent);
  const int64_t room = std::accumulate(most.begin(), most.end(), int64_t(0));
  require(options.keep->fraction || !updates || count - spent <= room,
          "{}: {} heads are above the {} that 'heads' keeps", place.of("keep"), count, spent + room);
  const std::vector<int64_t> counts = spread_evenly(count - spent, most);
  HeadMask mask = within;
  for (int64_t l = exempt; l < visual; ++l) mask[size_t(l)] = first_of(within[size_t(l)], counts[size_t(l - exempt)]);
  return mask;
}

HeadMask heads_in_each_layer(const HeadOptions& options, const HeadMask& within, const OptionPlace& place) {
  const int64_t heads = int64_t(within.front().size());
  const int64_t count = kept_count(*options.keep, heads, "heads", "that a layer has", place.of("keep"));
  HeadMask mask = within;
  for (size_t l = size_t(exempt_layers(options)); l < mask.size(); ++l) mask[l] = first_of(within[l], count);
  return mask;
}

std::vector<std::optional<Neurons>> first_neurons(const FfnOptions& options, const DecoderSpec& spec, int64_t visual,
                                                  const OptionPlace& place) {
  const int64_t width = spec.intermediate_size, layers = spec.num_hidden_layers;
  std::vector<int64_t> counts(size_t(layers), width);
  if (options.scope == Scope::Layer) {
    const int64_t count = kept_count(options.keep, width, "neurons", "there are", place.of("keep"));
    counts.assign(size_t(layers), whole_neurons(options, count, width));
  } else if (visual > 0) {
    const int64_t total = kept_count(options.keep, visual * width, "neurons", "there are", place.of("keep"));
    for (int64_t l = 0; l < visual; ++l)
      counts[size_t(l)] = whole_neurons(options, total / visual + (l < total % visual ? 1 : 0), width);
  }
  std::vector<std::optional<Neurons>> sets;
  for (const int64_t count : counts) {
    std::optional<Neurons>& set = sets.emplace_back();
    if (count == width) continue;
    set.emplace(size_t(count));
    std::iota(set->begin(), set->end(), int64_t(0));
  }
  return sets;
}

}  // namespace

SizedPlan sized_plan(const PlanOptions& options, const DecoderSpec& spec, const OptionPlace& place) {
  const int64_t visual = visual_layer_count(options, spec.num_hidden_layers, place);
  SizedPlan sized;
  sized.known = !options.budget;
  Chooser chooser;
  chooser.heads = [&](const HeadOptions& heads, const HeadMask& within, bool updates, const OptionPlace& section) {
    if (!heads.mask.empty())
      return updates ? select_updates(no_statistics(spec), heads, within, section, visual)
                     : select_heads(no_statistics(spec), heads, section, visual);
    require(exempt_layers(heads) <= spec.num_hidden_layers || !heads.exempt_layers,
            "{}: {} is out of range; the model has {} layers", section.of("exempt_layers"), exempt_layers(heads),
            spec.num_hidden_layers);
    if (!heads.keep) {
      sized.known = false;
      return within;
    }
    if (heads.scope == Scope::Layer) return heads_in_each_layer(heads, within, section);
    sized.spread = true;
    return heads_across_the_model(heads, within, updates, visual, section);
  };
  chooser.neurons = [&](const FfnOptions& ffn, const OptionPlace& section) {
    sized.spread = sized.spread || ffn.scope == Scope::Model;
    return first_neurons(ffn, spec, visual, section);
  };
  sized.plan = assemble_plan(options, spec, visual, chooser, place);
  sized.plan.provenance["tool"] = fmt::format("yopo {}", tool_version);
  sized.plan.provenance["options"] = plan_options_json(options);
  return sized;
}

}  // namespace yopo
