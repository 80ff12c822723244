// From statistics to a plan: head selection, neuron selection, depth, window.
#pragma once

#include "calibration/statistics.h"
#include "compress/plan.h"
#include "core/recipe.h"

namespace yopo {

/// Heads by threshold and vote (ratio > threshold in more than vote * samples samples, both strict; first exempt layers
/// always kept), by number kept (highest mean ratio, per layer or across the model), or from a mask file.
/// UserError naming `where` for a number above the heads there are, or a mask of another shape.
HeadMask select_heads(const Statistics& statistics, const HeadOptions& options, const std::string& where);
/// As above among the heads of `within`: `keep` as a fraction is of all heads (not of those within).
HeadMask select_updates(const Statistics& statistics, const HeadOptions& options, const HeadMask& within, const std::string& where);
/// Neuron sets per layer by score. With scope model, wanda and rms scores of different layers compete as they are.
std::vector<std::optional<std::vector<int64_t>>> select_neurons(const Statistics& statistics, const FfnOptions& options,
                                                                const std::string& where);
/// Ties are broken by the lower index, so plans are deterministic.
Plan make_plan(const Statistics& statistics, const PlanOptions& options, const DecoderSpec& spec, const std::string& where);
/// Random heads, updates and neurons at the same counts: the control of every claim about calibration.
Plan random_plan(const Plan& like, const DecoderSpec& spec, uint64_t seed);

/// A head mask file (.npy bool [L, H]) as published; UserError for another shape.
HeadMask read_head_mask(const fs::path& path, int64_t layers, int64_t heads);

}  // namespace yopo
