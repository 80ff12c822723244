// One option of each group, together within a capacity, with the least sum of losses.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace yopo {

struct KnapsackOption {
  double cost = 0;  // may be negative: what is given back
  double loss = 0;
};

/// Multiple-choice knapsack by dynamic programming over `bins` steps of cost (each option's cost above its group's
/// cheapest is rounded up to a step, so that the capacity always holds; exact up to that). The index of the option
/// chosen in each group, ties to the lower index; nothing where even the cheapest options exceed the capacity.
std::optional<std::vector<size_t>> solve_knapsack(const std::vector<std::vector<KnapsackOption>>& groups,
                                                  double capacity, int64_t bins = 4096);

}  // namespace yopo
