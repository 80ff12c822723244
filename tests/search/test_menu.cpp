#include "search/menu.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "core/error.h"
#include "plans/order.h"
#include "search/ranking.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

DecoderSpec small_spec() {
  DecoderSpec spec;
  spec.num_hidden_layers = 4;
  spec.num_attention_heads = 8;
  spec.num_key_value_heads = 4;
  spec.head_dim = 4;
  spec.hidden_size = 16;
  spec.intermediate_size = 64;
  spec.vocab_size = 11;
  return spec;
}

Ranking some_ranking(const DecoderSpec& spec) {
  Statistics statistics;
  statistics.layers = spec.num_hidden_layers;
  statistics.heads = spec.num_attention_heads;
  statistics.intermediate_size = spec.intermediate_size;
  statistics.ids = {"1"};
  std::mt19937 random(3);
  std::uniform_real_distribution<double> real(0.1, 1);
  const auto draw = [&](int64_t count) {
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(real(random));
    return values;
  };
  const int64_t neurons = statistics.layers * statistics.intermediate_size;
  statistics.ratio = draw(statistics.layers * statistics.heads);
  statistics.abs_sum = statistics.active = draw(neurons);
  statistics.square_sum = draw(neurons);
  statistics.column_norm = draw(neurons);
  statistics.rows.assign(size_t(statistics.layers), 5);
  return rank(spec, ratio_scores(statistics), ratio_scores(statistics), wanda_scores(statistics));
}

Menu some_menu() {
  const DecoderSpec spec = small_spec();
  return {spec, some_ranking(spec), {single_image_shape(3, 4, 5, 7), single_image_shape(3, 4, 5, 9)}, {-1, 0, 2, 4}};
}

TEST(Menu, DenseIsDenseAndCostsOne) {
  const Menu menu = some_menu();
  EXPECT_TRUE(is_dense(menu.plan(menu.dense()), menu.spec()));
  EXPECT_NEAR(menu.cost(menu.dense()), 1, 1e-12);
  const Choice nothing(4);
  EXPECT_NEAR(menu.cost(nothing), 0, 1e-12);
  EXPECT_EQ(visual_layers(menu.plan(nothing)), 0);
}

TEST(Menu, EveryChoiceIsAPlanOfItsCost) {
  const Menu menu = some_menu();
  const DecoderSpec& spec = menu.spec();
  std::mt19937 random(4);
  const PromptShape first = single_image_shape(3, 4, 5, 7), second = single_image_shape(3, 4, 5, 9);
  const auto visual = [&](const Plan& plan) {
    return visual_cost(plan, spec, first).macs() + visual_cost(plan, spec, second).macs();
  };
  for (int round = 0; round < 200; ++round) {
    Choice choice(4);
    for (LayerChoice& layer : choice) {
      if (random() % 4 == 0) continue;
      for (int ladder = 0; ladder < ladder_count; ++ladder)
        layer.level[ladder] = int(random() % unsigned(menu.levels(Ladder(ladder))));
    }
    const Plan plan = menu.plan(choice);
    check_plan(plan, spec, "test");
    EXPECT_NEAR(menu.cost(choice), visual(plan) / visual(dense_plan(spec)), 1e-12) << choice_text(menu, choice);
    EXPECT_NEAR(menu.cost(plan), menu.cost(choice), 1e-12);
    // Heads and neurons are prefixes of the ranking's order.
    const Plan ordered = reorder_plan(plan, spec, orders_of(menu.ranking(), spec));
    for (const LayerPlan& layer : ordered.layers) {
      if (!layer.alive) continue;
      EXPECT_TRUE(std::is_sorted(layer.heads.rbegin(), layer.heads.rend()));
      if (layer.neurons && !layer.neurons->empty()) {
        EXPECT_EQ(layer.neurons->back() + 1, int64_t(layer.neurons->size()));
      }
    }
  }
}

// Other budgets: what a plan of random levels spends is what plans/cost.h says of it, text included where that counts.
TEST(Menu, PricesAreThoseOfTheBudget) {
  const DecoderSpec spec = small_spec();
  const PromptShape first = single_image_shape(3, 4, 5, 7), second = single_image_shape(3, 4, 5, 9);
  const Menu kv(spec, some_ranking(spec), {first, second}, {-1}, {Budget::Kind::Kv, 2});
  const Menu paper(spec, some_ranking(spec), {first, second}, {-1}, {Budget::Kind::Paper});
  const auto bytes = [&](const Plan& plan) {
    return double(kv_bytes(plan, spec, first, 0, 2) + kv_bytes(plan, spec, second, 0, 2)) / 2;
  };
  std::mt19937 random(5);
  for (int round = 0; round < 100; ++round) {
    Choice choice(4);
    for (LayerChoice& layer : choice)
      for (int ladder = 0; ladder < ladder_count; ++ladder)
        layer.level[ladder] = int(random() % unsigned(kv.levels(Ladder(ladder))));
    const Plan plan = kv.plan(choice);
    EXPECT_NEAR(kv.spent(kv.cost(choice)), bytes(plan), 1e-6) << choice_text(kv, choice);
    EXPECT_NEAR(kv.share({Budget::Kind::Kv, bytes(plan) + 1e-3}), kv.cost(choice), 1e-6);
    const Plan dense = dense_plan(spec);
    const double whole = paper_flops(dense, spec, first) + paper_flops(dense, spec, second);
    EXPECT_NEAR(paper.cost(choice), (paper_flops(plan, spec, first) + paper_flops(plan, spec, second)) / whole, 1e-12);
  }
  EXPECT_USER_ERROR(kv.share({Budget::Kind::Kv, 100}), "text alone takes");
}

TEST(Menu, MillisecondsAreThoseOfTheTable) {
  const DecoderSpec spec = small_spec();
  TimeTable table;
  table.rows = {1, 64}, table.widths = {1, 256};
  table.out = table.in = {1e-3, 0.1, 0.02, 3};
  table.text_pair = 1e-3, table.visual_pair = 2e-3, table.window_query = 0.01, table.fixed = 7;
  const PromptShape first = single_image_shape(3, 4, 5, 7), second = single_image_shape(3, 4, 5, 9);
  const Menu menu(spec, some_ranking(spec), {first, second}, {-1},
                  {Budget::Kind::Time, 2, std::make_shared<const TimeTable>(table)});
  std::mt19937 random(6);
  for (int round = 0; round < 50; ++round) {
    Choice choice(4);
    for (LayerChoice& layer : choice)
      for (int ladder = 0; ladder < ladder_count; ++ladder)
        layer.level[ladder] = int(random() % unsigned(menu.levels(Ladder(ladder))));
    const Plan plan = menu.plan(choice);
    const double mean = (prefill_time(table, plan, spec, first) + prefill_time(table, plan, spec, second)) / 2;
    EXPECT_NEAR(menu.spent(menu.cost(plan)), mean, 1e-9) << choice_text(menu, choice);
  }
  EXPECT_USER_ERROR(menu.share({Budget::Kind::Time, 7.01}), "text alone takes");
}

TEST(Menu, LaddersGoFromNothingToEverything) {
  const Menu menu = some_menu();
  for (const Ladder ladder : {Ladder::Heads, Ladder::Updates, Ladder::Neurons}) EXPECT_EQ(menu.value(ladder, 0), 0);
  EXPECT_EQ(menu.value(Ladder::Heads, menu.levels(Ladder::Heads) - 1), 8);
  EXPECT_EQ(menu.value(Ladder::Updates, menu.levels(Ladder::Updates) - 1), 8);
  EXPECT_EQ(menu.value(Ladder::Neurons, menu.levels(Ladder::Neurons) - 1), 64);
  EXPECT_EQ(menu.value(Ladder::Window, 0), 1);
  EXPECT_EQ(menu.value(Ladder::Window, menu.levels(Ladder::Window) - 1), 0) << "none";
  for (int level = 1; level < menu.levels(Ladder::Neurons); ++level)
    EXPECT_GT(menu.value(Ladder::Neurons, level), menu.value(Ladder::Neurons, level - 1));
}

TEST(Menu, LevelsThatSayNothingAreLowered) {
  const Menu menu = some_menu();
  LayerChoice layer;
  layer.at(Ladder::Window) = 2;
  EXPECT_EQ(menu.normal(layer), LayerChoice{}) << "a window without updates";
  layer.at(Ladder::Updates) = menu.levels(Ladder::Updates) - 1;
  layer.at(Ladder::Heads) = 1;
  EXPECT_LE(menu.value(Ladder::Updates, menu.normal(layer).at(Ladder::Updates)), 1);
}

TEST(Ranking, GroupsAreNeighboursAndScoresDescend) {
  const DecoderSpec spec = small_spec();
  for (const LayerRanking& layer : some_ranking(spec)) {
    std::vector<int64_t> sorted = layer.heads;
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(sorted[size_t(i)], i);
    for (size_t i = 0; i < 8; i += 2) EXPECT_EQ(layer.heads[i] / 2, layer.heads[i + 1] / 2);
    EXPECT_EQ(layer.neurons.size(), 64u);
  }
}

}  // namespace
}  // namespace yopo
