#include "evaluation/benchmarks/choose.h"

#include <unordered_set>

namespace yopo {

std::vector<bool> choose_units(const std::vector<std::string>& units, int64_t count) {
  std::vector<Sample> named;
  std::unordered_set<std::string> seen;
  for (const std::string& unit : units) {
    if (!seen.insert(unit).second) continue;
    named.emplace_back();
    named.back().id = unit;
  }
  std::unordered_set<std::string> chosen;
  for (const Sample& one : choose_samples(std::move(named), count, 0)) chosen.insert(one.id);
  std::vector<bool> keep;
  keep.reserve(units.size());
  for (const std::string& unit : units) keep.push_back(chosen.contains(unit));
  return keep;
}

}  // namespace yopo
