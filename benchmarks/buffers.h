// Random operands for the benchmarks of operators.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "core/dtype.h"

namespace yopo::bench {

// LLaVA-1.5-7B: a prompt of one image and a question.
inline constexpr int64_t kHidden = 4096, kIntermediate = 11008, kHeads = 32, kHeadDim = 128;
inline constexpr int64_t kVisual = 576, kText = 64, kGrid = 24;

/// `count` values of normal(0, 1) stored as `type` (F32 or BF16).
inline std::vector<std::byte> random_values(DType type, int64_t count, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  std::vector<std::byte> bytes(values.size() * size_of(type));
  from_float(values.data(), values.size(), type, bytes.data());
  return bytes;
}

inline const char* label(DType type) { return type == DType::BF16 ? "bf16" : "fp32"; }

}  // namespace yopo::bench
