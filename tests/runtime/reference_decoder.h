// The decoder once more, as plainly as it can be said: double precision, one sample, masks and straight loops,
// recomputing everything. Shares no code with the runtime.
#pragma once

#include <functional>
#include <vector>

#include "models/input.h"
#include "models/tensors.h"
#include "plans/plan.h"

namespace yopo::testing {

struct ReferenceResult {
  std::vector<double> hidden;  // [L+1, T, C]
  std::vector<double> logits;  // [T, V]
};

/// Whole tensor of a role in the model's own order, row-major.
using ReferenceWeights = std::function<std::vector<double>(Role role, int64_t layer)>;

/// embeds [T, C]; semantics `skip`.
ReferenceResult reference_forward(const DecoderSpec& spec, const ReferenceWeights& weights, const Plan& plan,
                                  const std::vector<float>& embeds, const std::vector<int64_t>& positions,
                                  const std::vector<Span>& spans);

}  // namespace yopo::testing
