// What a search may choose for each layer, as levels of a few ladders, and what a choice costs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plans/cost.h"
#include "plans/plan.h"
#include "plans/price.h"

namespace yopo {

/// The ladders, each from nothing to everything.
enum class Ladder { Heads, Updates, Neurons, Window, Rank };
inline constexpr int ladder_count = 5;

/// Levels of one layer, one a ladder. A layer whose levels are all 0 does nothing for visual rows.
struct LayerChoice {
  int level[ladder_count] = {0, 0, 0, 0, 0};
  int& at(Ladder ladder) { return level[int(ladder)]; }
  int at(Ladder ladder) const { return level[int(ladder)]; }
  bool operator==(const LayerChoice&) const = default;
};
using Choice = std::vector<LayerChoice>;  // [L]

/// In which order a layer's heads and neurons are given up, the last first.
struct LayerRanking {
  std::vector<int64_t> heads;    // [H] for text to read; heads of a KV group are neighbours
  std::vector<int64_t> updates;  // [H] for visual rows to compute
  std::vector<int64_t> neurons;  // [F]
};
using Ranking = std::vector<LayerRanking>;  // [L]

/// Costs are those of visual tokens alone; what text costs is no choice.
class Menu {
 public:
  /// `shapes`: of the prompts whose mean cost counts. `ranks`: the ladder of compensation's ranks, ascending from -1,
  /// none.
  Menu(const DecoderSpec& spec, Ranking ranking, const std::vector<PromptShape>& shapes, std::vector<int64_t> ranks,
       CostModel prices = {});

  const DecoderSpec& spec() const { return spec_; }
  const Ranking& ranking() const { return ranking_; }
  int levels(Ladder ladder) const { return int(values_[size_t(ladder)].size()); }
  /// A count of heads, updates or neurons; the window's size (0: none, -1: level 0 is a visual row alone); a rank (-1:
  /// no compensation).
  int64_t value(Ladder ladder, int level) const { return values_[size_t(ladder)][size_t(level)]; }
  /// Everything, no compensation.
  Choice dense() const;

  /// Levels that say nothing more than lower ones (a window without updates, more updates than heads) lowered.
  LayerChoice normal(LayerChoice layer) const;
  LayerPlan layer_plan(int64_t layer, const LayerChoice& choice, int64_t extra_neurons = 0) const;
  /// Compensation has its ranks and no vectors' values (zeros).
  Plan plan(const Choice& choice) const;
  /// Mean over the prompts of what visual tokens cost, as a share of the dense model's, in what is to be spent.
  double cost(const LayerPlan& layer) const;
  double cost(int64_t layer, const LayerChoice& choice) const;
  double cost(const Choice& choice) const;
  double cost(const Plan& plan) const;
  /// The share that a budget leaves for visual tokens, at most 1. UserError where text alone takes more.
  double share(const Budget& budget) const;
  /// What such a share comes to, text included: a share, bytes or milliseconds.
  double spent(double share) const;
  /// The share of the exact visual FLOPs.
  double visual_flops(const Plan& plan) const;
  Budget::Kind kind() const { return prices_.kind; }

 private:
  double price(const LayerPlan& layer, const CostModel& prices) const;

  DecoderSpec spec_;
  Ranking ranking_;
  std::vector<std::pair<PromptShape, int64_t>> shapes_;  // and how often each comes
  CostModel prices_;
  double dense_price_ = 0, text_price_ = 0;  // of the whole model's visual tokens; of one layer's text
  std::vector<int64_t> values_[ladder_count];
};

/// "heads 8 updates 2 neurons 96 window 3 rank 8", for journals and reports.
std::string choice_text(const Menu& menu, const Choice& choice);

}  // namespace yopo
