// Plans that a search's plan is compared with: simple ways to spend the same visual FLOPs, without compensation.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibration/statistics.h"
#include "search/menu.h"

namespace yopo {

struct ControlPlan {
  std::optional<Plan> plan;  // absent: the budget cannot be met this way
  double cost = 0;           // of the plan, or the least that this way can cost; as Menu::cost
  std::string note = {};
};

/// Each is the largest of its kind whose cost is within `budget` by `menu`, whose ranking says which heads and neurons
/// go first.
/// The same share of heads and neurons in every layer; what heads leave of the budget goes into neurons.
ControlPlan uniform_control(const Menu& menu, double budget);
/// The counts of the uniform one, heads and neurons at random.
ControlPlan random_control(const Menu& menu, double budget, uint64_t seed);
/// As ShortV (arXiv 2504.00502): in frozen layers text reads visual keys and values, but visual rows stay as they are.
/// Layers freeze in ascending order of `kl` [L], each one's divergence when it is frozen alone.
ControlPlan frozen_control(const Menu& menu, double budget, const std::vector<double>& kl);
/// The dense model with layer `layer` frozen.
Plan frozen_layer(const DecoderSpec& spec, int64_t layer);
/// The first layers whole, nothing in the others; one window (causal); the same heads; the same neurons a layer (one
/// more in the first ones as far as it goes).
ControlPlan depth_control(const Menu& menu, double budget);
ControlPlan window_control(const Menu& menu, double budget);
ControlPlan heads_control(const Menu& menu, double budget);
ControlPlan neurons_control(const Menu& menu, double budget);
/// The published recipe: window 5, half of the neurons, heads by threshold and vote, no more than half of the layers.
/// Scaled to the budget as its authors' settings are: as many layers as fit with half of the heads (the threshold being
/// the median ratio), then the lowest threshold that fits.
ControlPlan published_control(const Menu& menu, double budget, const Statistics& statistics);

}  // namespace yopo
