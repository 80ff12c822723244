#include "evaluation/benchmarks/sums.h"

#include <algorithm>

#include "core/error.h"

namespace yopo {

namespace {

enum MeanSum : size_t { kRight, kCount, kMeanSums };  // of a category

using Places = std::map<std::string, size_t>;  // category -> its first sum; "": all units

Additions additions_of(const Score& score, const Places& places, const std::vector<size_t>& samples) {
  double value = 1;
  std::vector<std::string> names{""};
  for (const size_t i : samples) {
    value = std::min(value, score.values[i]);
    if (!score.groups.empty()) names.insert(names.end(), score.groups[i].begin(), score.groups[i].end());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  Additions additions;
  for (const std::string& name : names) {
    additions.emplace_back(places.at(name) + kRight, value);
    additions.emplace_back(places.at(name) + kCount, 1.0);
  }
  return additions;
}

SummedScores means_of(const Places& places, const std::string& headline, const double* sums) {
  SummedScores made;
  for (const auto& [name, at] : places) {
    const double mean = quotient(sums[at + kRight], sums[at + kCount]);
    if (name == headline) made.score = mean;
    if (!name.empty()) made.categories[name] = mean;
  }
  return made;
}

}  // namespace

double quotient(double sum, double count) { return count == 0 ? 0.0 : sum / count; }

std::map<std::string, size_t> sums_of_categories(const Score& score, size_t width) {
  ensure(score.groups.empty() || score.groups.size() == score.values.size(), "groups of some samples only");
  Places places;
  for (const auto& names : score.groups)
    for (const std::string& one : names) places.emplace(one, 0);
  size_t next = 0;
  for (auto& [name, at] : places) {
    at = next;
    next += width;
  }
  return places;
}

ScoreSums mean_sums(const Score& score, const std::map<std::string, MeanPart>& beside, const std::string& headline) {
  Places places = sums_of_categories(score, kMeanSums);
  places.emplace("", 0);
  for (const auto& [name, part] : beside) places.emplace(name, 0);  // a category may have no question that was asked
  ScoreSums sums;
  for (auto& [name, at] : places) {
    at = sums.size;
    sums.size += kMeanSums;
  }
  sums.beside.assign(sums.size, 0.0);
  for (const auto& [name, part] : beside) {
    sums.beside[places.at(name) + kRight] = part.right;
    sums.beside[places.at(name) + kCount] = part.count;
  }
  sums.of = [&score, places](const std::vector<size_t>& samples) { return additions_of(score, places, samples); };
  sums.scores = [places, headline](const double* own) { return means_of(places, headline, own); };
  return sums;
}

}  // namespace yopo
