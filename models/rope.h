// Rotary position embedding, half-split layout (Su et al., arXiv 2104.09864; LLaMA's rotate_half).
#pragma once

#include <cstdint>
#include <vector>

#include "models/spec.h"

namespace yopo {

/// cos and sin of position x frequency for the first half of head_dim; the second half repeats it.
/// Rotation of x = [a | b]: [a cos - b sin | b cos + a sin].
struct RopeTable {
  int64_t half = 0;         // head_dim / 2
  std::vector<float> cos;   // [T, half]
  std::vector<float> sin;   // [T, half]
};
/// `positions` [T]. Angles are computed in fp32 as the reference implementations do.
RopeTable rope_table(const DecoderSpec& spec, const std::vector<int64_t>& positions);

}  // namespace yopo
