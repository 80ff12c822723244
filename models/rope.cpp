#include "models/rope.h"

#include <cmath>

namespace yopo {

RopeTable rope_table(const DecoderSpec& spec, const std::vector<int64_t>& positions) {
  RopeTable table;
  table.half = spec.head_dim / 2;
  std::vector<float> inverse(table.half);
  // fp32 throughout, in the references' order of operations: 1 / theta^(2i / head_dim).
  for (int64_t i = 0; i < table.half; ++i)
    inverse[i] = 1.0f / std::pow(float(spec.rope.theta), float(2 * i) / float(spec.head_dim));
  table.cos.resize(positions.size() * table.half);
  table.sin.resize(positions.size() * table.half);
  for (size_t t = 0; t < positions.size(); ++t)
    for (int64_t i = 0; i < table.half; ++i) {
      const float angle = float(positions[t]) * inverse[i];
      table.cos[t * table.half + i] = std::cos(angle);
      table.sin[t * table.half + i] = std::sin(angle);
    }
  return table;
}

}  // namespace yopo
