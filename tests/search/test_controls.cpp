#include "search/controls.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "search/ranking.h"

namespace yopo {
namespace {

DecoderSpec spec_of(int64_t kv_heads) {
  DecoderSpec spec;
  spec.num_hidden_layers = 8;
  spec.num_attention_heads = 8;
  spec.num_key_value_heads = kv_heads;
  spec.head_dim = 8;
  spec.hidden_size = 64;
  spec.intermediate_size = 128;
  spec.vocab_size = 11;
  return spec;
}

Statistics some_statistics(const DecoderSpec& spec) {
  Statistics statistics;
  statistics.layers = spec.num_hidden_layers;
  statistics.heads = spec.num_attention_heads;
  statistics.intermediate_size = spec.intermediate_size;
  statistics.ids = {"1"};
  const auto draw = [](int64_t count) {
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(0.1 + double((i * 7919) % 1009) / 1009);
    return values;
  };
  const int64_t neurons = statistics.layers * statistics.intermediate_size;
  statistics.ratio = draw(statistics.layers * statistics.heads);
  statistics.abs_sum = statistics.active = statistics.square_sum = statistics.column_norm = draw(neurons);
  statistics.rows.assign(size_t(statistics.layers), 5);
  return statistics;
}

Menu menu_of(const DecoderSpec& spec, const Statistics& statistics) {
  return Menu(spec, rank(spec, ratio_scores(statistics), ratio_scores(statistics), wanda_scores(statistics)),
              {single_image_shape(4, 9, 9, 12)}, {-1});
}

TEST(Controls, NeverAboveTheBudgetAndAsNearAsTheirStepsAllow) {
  for (const int64_t kv_heads : {8, 4}) {
    const DecoderSpec spec = spec_of(kv_heads);
    const Statistics statistics = some_statistics(spec);
    const Menu menu = menu_of(spec, statistics);
    for (const double budget : {0.5, 0.25, 0.12}) {
      SCOPED_TRACE(fmt::format("{} KV heads, budget {}", kv_heads, budget));
      const auto held = [&](const ControlPlan& control, double step) {
        ASSERT_TRUE(control.plan);
        check_plan(*control.plan, spec, "control");
        EXPECT_FALSE(is_compensated(*control.plan));
        EXPECT_DOUBLE_EQ(control.cost, menu.cost(*control.plan));
        EXPECT_LE(control.cost, budget);
        EXPECT_GT(control.cost, budget - step);
      };
      held(uniform_control(menu, budget), 0.002);
      held(depth_control(menu, budget), 1.0 / 8 + 1e-9);
      held(random_control(menu, budget, 1), kv_heads == 8 ? 0.002 : 0.1);
      EXPECT_LE(published_control(menu, budget, statistics).cost, budget);
      EXPECT_GT(published_control(menu, budget, statistics).cost, budget / 2);
    }
  }
}

TEST(Controls, OneMeansAloneMeetsWhatItCan) {
  const DecoderSpec spec = spec_of(8);
  const Menu menu = menu_of(spec, some_statistics(spec));
  for (auto control : {heads_control, neurons_control, window_control}) {
    const ControlPlan none = control(menu, 0.01);
    EXPECT_FALSE(none.plan) << "less than what it leaves whole";
    EXPECT_GT(none.cost, 0.01);
    const ControlPlan some = control(menu, none.cost + 0.03);
    ASSERT_TRUE(some.plan);
    EXPECT_LE(some.cost, none.cost + 0.03);
    EXPECT_GE(some.cost, none.cost);
  }
  EXPECT_GT(neurons_control(menu, 0.8).cost, 0.798);
}

TEST(Controls, LayersFreezeInOrderOfTheirDivergence) {
  const DecoderSpec spec = spec_of(8);
  const Menu menu = menu_of(spec, some_statistics(spec));
  const std::vector<double> kl{5, 1, 4, 0.5, 3, 2, 7, 6};
  const ControlPlan control = frozen_control(menu, 0.6, kl);
  ASSERT_TRUE(control.plan);
  EXPECT_LE(control.cost, 0.6);
  double worst_frozen = 0, best_whole = 100;
  for (size_t l = 0; l < kl.size(); ++l) {
    const LayerPlan& layer = control.plan->layers[l];
    const bool frozen = layer.neurons && layer.neurons->empty();
    EXPECT_EQ(std::count(layer.heads.begin(), layer.heads.end(), 1), 8) << "text reads every layer";
    EXPECT_EQ(std::count(layer.updates.begin(), layer.updates.end(), 1), frozen ? 0 : 8);
    (frozen ? worst_frozen : best_whole) = frozen ? std::max(worst_frozen, kl[l]) : std::min(best_whole, kl[l]);
  }
  EXPECT_GT(worst_frozen, 0);
  EXPECT_LT(worst_frozen, best_whole);
}

}  // namespace
}  // namespace yopo
