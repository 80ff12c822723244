#include <algorithm>
#include <array>
#include <bit>
#include <numeric>

#include "compress/make_plan.h"
#include "core/error.h"

namespace yopo {
namespace {

// xoshiro256** 1.0 (Blackman and Vigna, prng.di.unimi.it), seeded by splitmix64. Written out because the standard
// library's distributions give other numbers with every implementation.
class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15u;
      uint64_t mixed = seed;
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
      word = mixed ^ (mixed >> 31);
    }
  }
  // Uniform in [0, bound): values past the last whole multiple of `bound` are drawn again.
  uint64_t below(uint64_t bound) {
    const uint64_t excess = (UINT64_MAX % bound + 1) % bound;
    uint64_t value;
    do value = next();
    while (value > UINT64_MAX - excess);
    return value % bound;
  }

 private:
  uint64_t next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9, shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  std::array<uint64_t, 4> state_;
};

// `count` of `values`, ascending: the first steps of a Fisher-Yates shuffle.
std::vector<int64_t> choose(std::vector<int64_t> values, size_t count, Random& random) {
  for (size_t i = 0; i < count; ++i) std::swap(values[i], values[i + random.below(values.size() - i)]);
  values.resize(count);
  std::sort(values.begin(), values.end());
  return values;
}

std::vector<int64_t> all_below(int64_t count) {
  std::vector<int64_t> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), int64_t(0));
  return values;
}

std::vector<uint8_t> flags_of(const std::vector<int64_t>& chosen, int64_t count) {
  std::vector<uint8_t> flags(size_t(count), 0);
  for (int64_t index : chosen) flags[size_t(index)] = 1;
  return flags;
}

}  // namespace

Plan random_plan(const Plan& like, const DecoderSpec& spec, uint64_t seed) {
  check_plan(like, spec, "random plan");
  Random random(seed);
  Plan plan = like;
  // Either every layer draws its updated heads or none: which numbers a layer gets does not depend on the others' sets.
  const bool draws_updates = head_mask(like) != update_mask(like);
  for (LayerPlan& layer : plan.layers) {
    const auto heads = choose(all_below(spec.num_attention_heads), size_t(ones(layer.heads)), random);
    const size_t updated = size_t(ones(layer.updates));
    layer.heads = layer.updates = flags_of(heads, spec.num_attention_heads);
    if (draws_updates) layer.updates = flags_of(choose(heads, updated, random), spec.num_attention_heads);
    if (layer.neurons) layer.neurons = choose(all_below(spec.intermediate_size), layer.neurons->size(), random);
  }
  plan.provenance = Json::object();
  plan.provenance["random_seed"] = seed;
  plan.provenance["like"] = like.provenance;
  check_plan(plan, spec, "random plan");
  return plan;
}

}  // namespace yopo
