// Heads given up in rounds, by a loss that is known.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "search/eliminate.h"

namespace yopo {
namespace {

DecoderSpec spec_with(int64_t heads, int64_t kv_heads) {
  DecoderSpec spec;
  spec.num_hidden_layers = 3, spec.hidden_size = 32, spec.num_attention_heads = heads;
  spec.num_key_value_heads = kv_heads, spec.head_dim = 4, spec.intermediate_size = 16;
  return spec;
}

/// Each head is worth its number, but the last two of layer 0 hold the same: either can be missed, but not both.
double loss_of(const Plan& plan) {
  double loss = 0;
  for (size_t l = 0; l < plan.layers.size(); ++l)
    for (size_t h = 0; h < plan.layers[l].heads.size(); ++h)
      if (!plan.layers[l].heads[h] && !(l == 0 && h >= 6)) loss += double(8 * l + h + 1);
  const bool six = plan.layers[0].heads[6], seven = plan.layers[0].heads[7];
  return loss + (six && seven ? 0 : six ? 4.5 : seven ? 3.5 : 1000);
}

std::vector<double> losses_of(const std::vector<std::pair<std::string, Plan>>& plans) {
  std::set<std::string> names;
  std::vector<double> losses;
  for (const auto& [name, plan] : plans) {
    EXPECT_TRUE(names.insert(name).second) << name;
    losses.push_back(loss_of(plan));
  }
  return losses;
}

TEST(Eliminate, WhatIsMissedDependsOnWhatIsGone) {
  const DecoderSpec spec = spec_with(8, 8);
  Plan whole = dense_plan(spec);
  set_visual_layers(whole, 2);
  const std::vector<Group> order = elimination_order(whole, spec, losses_of, "x", 1000);
  ASSERT_EQ(order.size(), 16u) << "every head of the layers that are alive, once";
  std::set<std::pair<int64_t, int64_t>> places;
  for (size_t i = 0; i < order.size(); ++i) {
    EXPECT_TRUE(places.insert({order[i].layer, order[i].kv}).second);
    EXPECT_LT(order[i].layer, 2);
  }
  // The first round gives up 1, 2, 3 and one of the two, the second three more. By what each costs alone the other
  // would be among these (4.5, between 4 and 5); now it is what matters most.
  const auto place = [&](int64_t layer, int64_t head) {
    size_t i = 0;
    while (order[i].layer != layer || order[i].kv != head) ++i;
    return i;
  };
  for (const int64_t head : {0, 1, 2, 6}) EXPECT_LT(place(0, head), 4u);
  for (const int64_t head : {3, 4, 5}) EXPECT_EQ(place(0, head), size_t(head + 1));
  EXPECT_GE(place(0, 7), 14u);
  EXPECT_GE(place(1, 7), 14u);
}

TEST(Eliminate, GroupsGoWhole) {
  const DecoderSpec spec = spec_with(8, 2);
  std::vector<Plan> seen;
  const std::vector<Group> order = elimination_order(
      dense_plan(spec), spec,
      [&](const auto& plans) {
        for (const auto& [name, plan] : plans) seen.push_back(plan);
        return losses_of(plans);
      },
      "x", 1000);
  EXPECT_EQ(order.size(), 6u) << "two groups in each of three layers";
  for (const Plan& plan : seen)
    for (const LayerPlan& layer : plan.layers)
      for (size_t group = 0; group < 2; ++group) {
        const auto first = layer.heads.begin() + std::ptrdiff_t(4 * group);
        const auto count = std::count(first, first + 4, uint8_t(1));
        EXPECT_TRUE(count == 0 || count == 4);
        EXPECT_EQ(layer.updates, layer.heads) << "what is not read is not computed";
      }
}

TEST(Eliminate, NothingWhereItWouldBeTooMuch) {
  const DecoderSpec spec = spec_with(8, 8);
  int64_t plans = 0;
  const Losses count = [&](const auto& some) {
    plans += int64_t(some.size());
    return losses_of(some);
  };
  ASSERT_EQ(elimination_order(dense_plan(spec), spec, count, "x", 1'000'000).size(), 24u);
  const int64_t needed = plans;
  EXPECT_EQ(elimination_order(dense_plan(spec), spec, count, "x", needed).size(), 24u);
  plans = 0;
  EXPECT_TRUE(elimination_order(dense_plan(spec), spec, count, "x", needed - 1).empty());
  EXPECT_EQ(plans, 0) << "known before anything is measured";
}

}  // namespace
}  // namespace yopo
