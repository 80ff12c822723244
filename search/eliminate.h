// Heads given up one after the other: which can still be missed depends on which are gone already.
#pragma once

#include <vector>

#include "models/spec.h"
#include "search/menu.h"
#include "search/meter.h"

namespace yopo {

/// A KV group of a layer; without grouped queries, a head.
struct Group {
  int64_t layer = 0, kv = 0;
};

/// From a plan in which visual rows of the first layers have all heads, in rounds: of those left each alone is taken
/// away, and the eighth that is missed least goes. What is left at the end comes last. Vectors of compensation stay
/// what they were. Measured on every meter.quick()-th sample; nothing where that is more than `most` plans.
std::vector<Group> elimination_order(PlanMeter& meter, const DecoderSpec& spec, const Plan& whole,
                                     const std::string& name, int64_t most);

}  // namespace yopo
