// Paired bootstrap over units that are described by few distinct sums.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace yopo {

/// What a unit adds to the sums behind the scores: (sum, amount), by sum.
using Additions = std::vector<std::pair<size_t, double>>;

/// Units, those of equal additions counted together: a resample is then a count of few kinds. Const members
/// may be called from several threads at once.
class ResampledUnits {
 public:
  /// `sums`: how many sums there are. Units of a stratum are drawn among themselves.
  explicit ResampledUnits(size_t sums) : sums_(sums) {}
  ResampledUnits(const ResampledUnits&) = delete;  // kinds_ points into kind_of_
  ResampledUnits& operator=(const ResampledUnits&) = delete;
  void add(const std::string& stratum, Additions additions);
  int64_t size() const { return size_; }

  /// The sums over all units as they are, and over one resample: a function of seed and number alone.
  std::vector<double> sums() const;
  std::vector<double> resample(uint64_t seed, uint64_t number) const;

 private:
  std::vector<double> sums_of(const std::vector<int64_t>& counts) const;
  size_t sums_;
  int64_t size_ = 0;
  std::map<Additions, uint32_t> kind_of_;
  std::vector<const Additions*> kinds_;
  std::map<std::string, std::vector<uint32_t>> strata_;  // the kind of each unit
};

/// The value below which `fraction` of the sorted values lie, linear between neighbours. At least one value.
double percentile(const std::vector<double>& sorted, double fraction);

}  // namespace yopo
