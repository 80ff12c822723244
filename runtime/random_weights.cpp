// Random weights: every element from a counter, so that any order and any number of threads give the same model.
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "runtime/weight_builder.h"

namespace yopo::runtime {
namespace {

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (SplitMix64's finaliser).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Quantile of the standard normal by Newton's method on its distribution function, from below the median.
double normal_quantile(double probability) {
  double x = -std::sqrt(std::max(0.0, -2 * std::log(2 * probability)));
  for (int step = 0; step < 60; ++step) {
    const double error = 0.5 * std::erfc(-x / std::numbers::sqrt2) - probability;
    const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
    const double next = x - error / density;
    if (std::abs(next - x) < 1e-12) return next;
    x = next;
  }
  return x;
}

/// The midpoints of 65,536 slices of equal probability: 16 random bits make a normal number.
const std::vector<float>& normal_table() {
  static const std::vector<float> table = [] {
    std::vector<float> values(65536);
    for (size_t i = 0; i < 32768; ++i) {
      values[i] = float(0.02 * normal_quantile((double(i) + 0.5) / 65536));
      values[65535 - i] = -values[i];
    }
    return values;
  }();
  return table;
}

}  // namespace

void random_row(uint64_t seed, Role role, int64_t layer, int64_t row, int64_t columns, float* out) {
  if (role == Role::InputNorm || role == Role::PostNorm || role == Role::FinalNorm) {
    std::fill_n(out, columns, 1.0f);
    return;
  }
  const std::vector<float>& table = normal_table();
  uint64_t stream = mix(mix(mix(mix(seed) ^ uint64_t(role)) ^ uint64_t(layer + 1)) ^ uint64_t(row));
  for (int64_t first = 0; first < columns; first += 4) {
    uint64_t bits = mix(stream++);
    for (int64_t i = first; i < std::min(first + 4, columns); ++i, bits >>= 16) out[i] = table[bits & 0xffff];
  }
}

std::shared_ptr<Weights> random_weights(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type,
                                        uint64_t seed, const Ops& ops) {
  // The table alone decides shapes; its names are not used.
  const auto find = [table = tensor_table(spec), seed, tie = spec.text.tie_word_embeddings](Role role, int64_t layer) {
    const bool tied = role == Role::LmHead && tie;
    const TensorSlot& slot = find_slot(table, tied ? Role::EmbedTokens : role, layer);
    TensorSource source;
    source.rows = slot.shape.size() > 1 ? slot.shape[0] : 1;
    source.columns = element_count(slot.shape, slot.name) / source.rows;
    source.name = slot.name;
    source.read = [seed, tensor = slot.role, layer, columns = source.columns](int64_t row, float* out) {
      random_row(seed, tensor, layer, row, columns, out);
    };
    return source;
  };
  return std::make_shared<WeightBuilder>(spec, orders, type, ops, find)->build(false);
}

}  // namespace yopo::runtime
