// Heads given up one after the other: which can still be missed depends on which are gone already.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "models/spec.h"
#include "plans/plan.h"

namespace yopo {

/// A KV group of a layer; without grouped queries, a head.
struct Group {
  int64_t layer = 0, kv = 0;
};

/// Losses of plans, each with a name of its own.
using Losses = std::function<std::vector<double>(const std::vector<std::pair<std::string, Plan>>&)>;

/// From a plan in which visual rows of the first layers have all heads, in rounds: of those left each alone is taken
/// away, and the quarter that is missed least goes; the last eighth goes at once. Vectors of compensation stay what
/// they were. Nothing where that takes more than `most` plans.
std::vector<Group> elimination_order(const Plan& whole, const DecoderSpec& spec, const Losses& losses,
                                     const std::string& name, int64_t most);

}  // namespace yopo
