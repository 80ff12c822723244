#include "evaluation/bootstrap.h"

#include <cmath>

#include "core/error.h"

namespace yopo {

namespace {

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection of 64 bits that passes for random when
/// fed multiples of the odd constant.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;

/// Draw `counter` of a stream, in [0, n): the high half of a 32 x 32 bit product, whose bias is below n / 2^32.
uint32_t draw(uint64_t stream, uint64_t counter, uint32_t n) {
  return uint32_t(((mix(stream + kStep * (counter + 1)) >> 32) * uint64_t(n)) >> 32);
}

}  // namespace

void ResampledUnits::add(const std::string& stratum, Additions additions) {
  for (const auto& [sum, amount] : additions) ensure(sum < sums_, "a sum that is none");
  const auto [kind, fresh] = kind_of_.emplace(std::move(additions), uint32_t(kinds_.size()));
  if (fresh) kinds_.push_back(&kind->first);
  strata_[stratum].push_back(kind->second);
  ++size_;
  ensure(size_ < (int64_t(1) << 31), "more units than a draw can tell apart");
}

std::vector<double> ResampledUnits::sums_of(const std::vector<int64_t>& counts) const {
  std::vector<double> sums(sums_, 0.0);
  for (size_t k = 0; k < kinds_.size(); ++k)
    for (const auto& [sum, amount] : *kinds_[k]) sums[sum] += double(counts[k]) * amount;
  return sums;
}

std::vector<double> ResampledUnits::sums() const {
  std::vector<int64_t> counts(kinds_.size(), 0);
  for (const auto& [name, kinds] : strata_)
    for (const uint32_t kind : kinds) ++counts[kind];
  return sums_of(counts);
}

std::vector<double> ResampledUnits::resample(uint64_t seed, uint64_t number) const {
  const uint64_t stream = mix(mix(seed + kStep) + kStep * (number + 1));
  std::vector<int64_t> counts(kinds_.size(), 0);
  uint64_t counter = 0;
  for (const auto& [name, kinds] : strata_)
    for (size_t i = 0; i < kinds.size(); ++i) ++counts[kinds[draw(stream, counter++, uint32_t(kinds.size()))]];
  return sums_of(counts);
}

double percentile(const std::vector<double>& sorted, double fraction) {
  ensure(!sorted.empty() && fraction >= 0 && fraction <= 1, "a percentile of nothing");
  const double place = fraction * double(sorted.size() - 1);
  const size_t below = std::min(size_t(std::floor(place)), sorted.size() - 1);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - double(below)) * (sorted[above] - sorted[below]);
}

}  // namespace yopo
