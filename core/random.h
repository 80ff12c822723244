// Pseudo-random numbers from counters: the number at a place depends on seed and place only, never on who draws it
// when.
#pragma once

#include <cstdint>
#include <vector>

namespace yopo {

/// A bijection of 64 bits that passes for random on consecutive inputs: the finaliser of SplitMix64 (Steele, Lea,
/// Flood: "Fast splittable pseudorandom number generators", 2014).
constexpr uint64_t mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// In [0, 1), a multiple of 2^-53: the number at `place` of the sequence that `seed` begins.
constexpr double uniform(uint64_t seed, uint64_t place) { return double(mix64(mix64(seed) ^ place) >> 11) * 0x1p-53; }

/// [65536]: 0.02 times the standard normal's quantiles at the midpoints of 65,536 slices of equal probability,
/// ascending. Indexed by 16 random bits it gives normal numbers of mean 0 and deviation 0.02, as transformers
/// initialises weights.
const std::vector<float>& normal_table();

}  // namespace yopo
