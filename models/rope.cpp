#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace yopo {

namespace {

// fp32 throughout, in the references' order of operations: 1 / (factor * theta^(2i / size)).
std::vector<float> inverse_frequencies(float theta, int64_t size, const std::vector<float>* factors = nullptr) {
  std::vector<float> inverse(static_cast<size_t>(size / 2));
  for (size_t i = 0; i < inverse.size(); ++i)
    inverse[i] = 1.0f / ((factors ? (*factors)[i] : 1.0f) * std::pow(theta, float(2 * i) / float(size)));
  return inverse;
}

/// YaRN: from the last frequency that turns beta_fast times within the trained length to the first that turns beta_slow
/// times, the divided frequencies fade in.
void fade_yarn(const RopeSpec& rope, int64_t size, std::vector<float>& inverse) {
  const auto frequency_turning = [&](double turns) {
    return double(size) * std::log(double(rope.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = frequency_turning(rope.beta_fast), high = frequency_turning(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, double(size - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < inverse.size(); ++i) {
    const float ramp = std::clamp(float((float(i) - float(low)) / float(high - low)), 0.0f, 1.0f), kept = 1 - ramp;
    const float divided = 1.0f / (float(rope.factor) * std::pow(float(rope.theta), float(2 * i) / float(size)));
    inverse[i] = divided * (1 - kept) + inverse[i] * kept;
  }
}

/// LLaMA 3: waves longer than the trained length over low_freq_factor are divided, those shorter than it over
/// high_freq_factor are not, and those between are mixed.
void stretch_llama3(const RopeSpec& rope, std::vector<float>& inverse) {
  const float length = float(rope.original_positions), factor = float(rope.factor);
  const float low = float(rope.low_freq_factor), high = float(rope.high_freq_factor);
  for (float& frequency : inverse) {
    const float wave = float(2 * std::numbers::pi) / frequency;
    if (wave > length / low) {
      frequency /= factor;
    } else if (!(wave < length / high)) {
      const float smooth = (length / wave - low) / (high - low);
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

std::vector<float> frequencies(const DecoderSpec& spec, std::span<const int64_t> positions, int64_t kv_length) {
  const RopeSpec& rope = spec.rope;
  double theta = rope.theta;
  const std::vector<float>* factors = nullptr;
  switch (rope.scaling) {
    case RopeSpec::Scaling::None:
      break;
    case RopeSpec::Scaling::Linear:
    case RopeSpec::Scaling::Yarn:
    case RopeSpec::Scaling::Llama3: {
      std::vector<float> inverse = inverse_frequencies(float(theta), spec.head_dim);
      if (rope.scaling == RopeSpec::Scaling::Linear)
        for (float& frequency : inverse) frequency /= float(rope.factor);
      if (rope.scaling == RopeSpec::Scaling::Yarn) fade_yarn(rope, spec.head_dim, inverse);
      if (rope.scaling == RopeSpec::Scaling::Llama3) stretch_llama3(rope, inverse);
      return inverse;
    }
    case RopeSpec::Scaling::DynamicNtk:
      if (kv_length > rope.original_positions) {
        const double size = double(spec.head_dim);
        theta *= std::pow(rope.factor * double(kv_length) / double(rope.original_positions) - (rope.factor - 1),
                          size / (size - 2));
      }
      break;
    case RopeSpec::Scaling::LongRope: {
      const int64_t last = positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end());
      factors = last + 1 > rope.original_positions ? &rope.long_factor : &rope.short_factor;
      break;
    }
  }
  return inverse_frequencies(float(theta), spec.head_dim, factors);
}

}  // namespace

RopeTable rope_table(const DecoderSpec& spec, std::span<const int64_t> positions, int64_t axes, int64_t kv_length) {
  ensure(axes == 1 || axes == 3, "positions along one axis or three");
  const std::vector<float> inverse = frequencies(spec, positions, kv_length);
  const int64_t count = int64_t(positions.size()) / axes;
  RopeTable table;
  table.half = spec.head_dim / 2;
  std::vector<int64_t> axis(size_t(table.half), 0);  // of each frequency
  if (axes == 3) {
    ensure(spec.rope.sections.size() == 3, "three axes need M-RoPE");
    const std::vector<int64_t>& sections = spec.rope.sections;
    size_t i = 0;
    if (spec.rope.interleaved) {
      for (; i < axis.size(); ++i)
        if (const auto a = int64_t(i % 3); int64_t(i) < 3 * sections[size_t(a)]) axis[i] = a;
    } else {
      for (int64_t a = 0; a < 3; ++a)
        for (int64_t n = 0; n < sections[size_t(a)]; ++n) axis[i++] = a;
    }
  }
  const float scale = float(spec.rope.attention_factor);
  table.cos.resize(size_t(count * table.half));
  table.sin.resize(size_t(count * table.half));
  for (int64_t t = 0; t < count; ++t)
    for (int64_t i = 0; i < table.half; ++i) {
      const float angle = float(positions[size_t(axis[size_t(i)] * count + t)]) * inverse[size_t(i)];
      table.cos[size_t(t * table.half + i)] = std::cos(angle) * scale;
      table.sin[size_t(t * table.half + i)] = std::sin(angle) * scale;
    }
  return table;
}

bool same_rotation(const DecoderSpec& spec, std::span<const int64_t> a_positions, int64_t a_length,
                   std::span<const int64_t> b_positions, int64_t b_length) {
  const bool by_length =
      spec.rope.scaling == RopeSpec::Scaling::DynamicNtk || spec.rope.scaling == RopeSpec::Scaling::LongRope;
  return !by_length || frequencies(spec, a_positions, a_length) == frequencies(spec, b_positions, b_length);
}

RopeTable rope_table_2d(int64_t head_dim, std::span<const int32_t> places) {
  const std::vector<float> inverse = inverse_frequencies(10000.0f, head_dim / 2);
  RopeTable table;
  table.half = head_dim / 2;
  table.cos.reserve(places.size() / 2 * size_t(table.half));
  table.sin.reserve(places.size() / 2 * size_t(table.half));
  for (const int32_t place : places)  // row, then column
    for (const float frequency : inverse) {
      table.cos.push_back(std::cos(float(place) * frequency));
      table.sin.push_back(std::sin(float(place) * frequency));
    }
  return table;
}

}  // namespace yopo
