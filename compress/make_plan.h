// From statistics to a plan: head selection, neuron selection, depth, window.
#pragma once

#include <functional>

#include "calibration/statistics.h"
#include "plans/options.h"
#include "plans/plan.h"

namespace yopo {

/// Layers that hold visual tokens: ranking across the model is among these only. Absent: all layers.
using VisualLayers = std::optional<int64_t>;

/// Heads [L][H] by threshold and vote (ratio > threshold in more than vote * samples samples, both strict; the
/// published rule is "more than 40 of 100"; the first `exempt_layers`, default 2, are always kept), by number kept
/// (highest mean ratio over the samples, per layer or across the model; exempt layers, default 0, are kept whole), or
/// from a mask file. A fraction is rounded to the nearest count: of H per layer, or of visual_layers * H across the
/// model, exempt layers included. With scope model, layers past visual_layers are all ones. UserError naming `place`
/// for a number above the heads there are, exempt layers that alone exceed the number, a mask of another shape,
/// statistics without samples or with NaN.
HeadMask select_heads(const Statistics& statistics, const HeadOptions& options, const OptionPlace& place,
                      VisualLayers visual_layers = {});
/// As above among the heads of `within`: `keep` as a fraction is of all heads (not of those within), and where `within`
/// has fewer, all of them. UserError also for a count across the model above the heads within, and a mask file outside
/// them.
HeadMask select_updates(const Statistics& statistics, const HeadOptions& options, const HeadMask& within,
                        const OptionPlace& place, VisualLayers visual_layers = {});

/// Scores [L, F] over visual rows, activation x = act(gate) * up: mean_abs = mean |x|, rms = sqrt(mean x^2), active =
/// share of rows with x active, wanda = rms times the norm of the down-projection's column. The last is |W| * ||X|| of
/// Wanda (arXiv 2306.11695, equation 1) summed over the neuron's column in the l2 norm: the size of what the neuron
/// adds to the residual stream. UserError naming `place` for a layer without visual rows or a score that is not finite.
std::vector<double> neuron_scores(const Statistics& statistics, NeuronScore score, const OptionPlace& place);
/// Neuron sets [L] by score, ascending; nullopt where a layer keeps all of them. With scope model, scores of different
/// layers below visual_layers compete as they are, and a layer may keep none; layers past it keep all.
std::vector<std::optional<std::vector<int64_t>>> select_neurons(const Statistics& statistics, const FfnOptions& options,
                                                                const OptionPlace& place,
                                                                VisualLayers visual_layers = {});

/// Ties go to the lower layer, then the lower index, so plans are deterministic. In a `skip` plan layers past
/// visual_layers keep everything: no visual token is there, and export leaves those layers as they are. `provenance`
/// holds tool version, statistics fingerprint, samples, queries and options; nothing that changes from run to run.
/// UserError for statistics of another model.
Plan make_plan(const Statistics& statistics, const PlanOptions& options, const DecoderSpec& spec,
               const OptionPlace& place);
/// Whether heads or neurons must be ranked. Ready masks, window, depth and keeping everything need no statistics.
bool needs_statistics(const PlanOptions& options);
/// The plan of options that need none. [S = 0]
Statistics no_statistics(const DecoderSpec& spec);

/// A plan of the options' sizes without statistics: the first heads and neurons instead of the best, and what is kept
/// across the model spread evenly over its layers. Heads chosen by threshold are only known after calibration: they
/// count as all kept, and `known` becomes false. `spread`: by layer, statistics will choose other counts.
struct SizedPlan {
  Plan plan;
  bool known = true, spread = false;
};
SizedPlan sized_plan(const PlanOptions& options, const DecoderSpec& spec, const OptionPlace& place);

/// What chooses heads and neurons; each gets the place for messages. Updated heads lie within `within` [L][H], which is
/// all ones for `heads`.
struct Chooser {
  std::function<HeadMask(const HeadOptions&, const HeadMask& within, bool updates, const OptionPlace& place)> heads;
  std::function<std::vector<std::optional<Neurons>>(const FfnOptions&, const OptionPlace& place)> neurons;
};
/// Window, depth and semantics from the options, the rest by `chooser`, layers past `visual` as above. No provenance.
Plan assemble_plan(const PlanOptions& options, const DecoderSpec& spec, int64_t visual, const Chooser& chooser,
                   const OptionPlace& place);

/// Random heads, updates and neurons at the same counts a layer: the control of every claim about calibration. The same
/// seed gives the same plan on every machine.
Plan random_plan(const Plan& like, const DecoderSpec& spec, uint64_t seed);

/// A head mask file [L, H] as published, told apart by its first bytes: an .npy array (bool, integers or floats, all 0
/// or 1) or a file of torch.save with one such tensor or a list of L of them [H]. UserError for another shape or other
/// values.
HeadMask read_head_mask(const fs::path& path, int64_t layers, int64_t heads);

}  // namespace yopo
