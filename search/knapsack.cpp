#include "search/knapsack.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace yopo {

std::optional<std::vector<size_t>> solve_knapsack(const std::vector<std::vector<KnapsackOption>>& groups,
                                                  double capacity, int64_t bins) {
  ensure(bins > 0, "a knapsack of some steps");
  constexpr double never = std::numeric_limits<double>::infinity();
  double room = capacity;
  std::vector<double> cheapest;
  for (const auto& group : groups) {
    ensure(!group.empty(), "a group has an option");
    double least = never;
    for (const KnapsackOption& option : group) {
      ensure(std::isfinite(option.cost) && std::isfinite(option.loss), "costs and losses are numbers");
      least = std::min(least, option.cost);
    }
    cheapest.push_back(least);
    room -= least;
  }
  if (room < 0) return std::nullopt;
  const double step = room / double(bins);
  const auto weight = [&](size_t group, const KnapsackOption& option) -> int64_t {
    const double above = option.cost - cheapest[group];
    if (above <= 0) return 0;
    if (above > room) return bins + 1;
    return std::min<int64_t>(bins + 1, int64_t(std::ceil(above / step - 1e-9)));
  };
  const size_t width = size_t(bins) + 1;
  std::vector<double> best(width, 0.0), next(width);  // [weight spent at most]
  std::vector<std::vector<uint32_t>> chosen(groups.size(), std::vector<uint32_t>(width, 0));
  for (size_t g = 0; g < groups.size(); ++g) {
    std::fill(next.begin(), next.end(), never);
    for (size_t o = 0; o < groups[g].size(); ++o) {
      const int64_t own = weight(g, groups[g][o]);
      for (int64_t w = own; w <= bins; ++w) {
        const double loss = best[size_t(w - own)] + groups[g][o].loss;
        if (loss < next[size_t(w)]) next[size_t(w)] = loss, chosen[g][size_t(w)] = uint32_t(o);
      }
    }
    best.swap(next);
  }
  std::vector<size_t> picks(groups.size());
  int64_t left = bins;
  for (size_t g = groups.size(); g-- > 0;) {
    picks[g] = chosen[g][size_t(left)];
    left -= weight(g, groups[g][picks[g]]);
  }
  return picks;
}

}  // namespace yopo
