#include "search/knapsack.h"

#include <gtest/gtest.h>

#include <random>

namespace yopo {
namespace {

using Groups = std::vector<std::vector<KnapsackOption>>;

struct Sum {
  double cost = 0, loss = 0;
};
Sum sum_of(const Groups& groups, const std::vector<size_t>& picks) {
  Sum sum;
  for (size_t g = 0; g < groups.size(); ++g) sum.cost += groups[g][picks[g]].cost, sum.loss += groups[g][picks[g]].loss;
  return sum;
}

/// Every combination.
double best_loss(const Groups& groups, double capacity, size_t group = 0, double cost = 0, double loss = 0) {
  if (group == groups.size()) return cost <= capacity + 1e-12 ? loss : 1e300;
  double best = 1e300;
  for (const KnapsackOption& option : groups[group])
    best = std::min(best, best_loss(groups, capacity, group + 1, cost + option.cost, loss + option.loss));
  return best;
}

TEST(Knapsack, FindsWhatTryingEverythingFinds) {
  std::mt19937 random(1);
  const auto below = [&](int n) { return int(random() % unsigned(n)); };
  int solved = 0;
  for (int round = 0; round < 200; ++round) {
    Groups groups(size_t(1 + below(6)));
    for (auto& options : groups) {
      options.push_back({0, 0});
      for (int i = below(4); i > 0; --i) options.push_back({double(below(21) - 8) - 0.02, double(below(41) - 20) / 8});
    }
    const double capacity = double(below(25) - 12);
    const double expected = best_loss(groups, capacity);
    const auto picks = solve_knapsack(groups, capacity, 100'000);
    ASSERT_EQ(picks.has_value(), expected < 1e299) << round;
    if (!picks) continue;
    ++solved;
    const Sum sum = sum_of(groups, *picks);
    EXPECT_LE(sum.cost, capacity + 1e-9) << round;
    EXPECT_GE(sum.loss, expected - 1e-9) << round;
    EXPECT_LE(sum.loss, best_loss(groups, capacity - 0.01) + 1e-9) << round << ": costs are rounded up to a step";
  }
  EXPECT_GT(solved, 100);
}

TEST(Knapsack, FewStepsNeverExceedTheCapacity) {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> real;
  for (int round = 0; round < 100; ++round) {
    Groups groups(8);
    for (auto& options : groups)
      for (int i = 0; i < 5; ++i) options.push_back({real(random), -real(random)});
    const double capacity = 8 * real(random);
    if (const auto picks = solve_knapsack(groups, capacity, 16)) {
      EXPECT_LE(sum_of(groups, *picks).cost, capacity + 1e-9);
    }
  }
}

TEST(Knapsack, TiesGoToTheFirst) {
  const auto picks = solve_knapsack({{{0, 0}, {0, 0}, {1, 0}}}, 1);
  ASSERT_TRUE(picks);
  EXPECT_EQ(picks->front(), 0u);
}

}  // namespace
}  // namespace yopo
