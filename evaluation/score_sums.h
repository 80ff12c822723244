// A benchmark's scores as functions of sums over its units, so that any sample of the units can be scored.
#pragma once

#include "evaluation/benchmarks/registry.h"
#include "evaluation/bootstrap.h"

namespace yopo {

struct SummedScores {
  std::map<std::string, double> categories;
  double score = 0;  // the headline
};

/// Which sums a benchmark's scores need. Means (most benchmarks): right and counted, of all units and of each category;
/// a unit of several questions is as right as its worst. MME: right, questions, both right, pairs of each category.
/// POPE: the table of answers and labels of each split.
class ScoreSums {
 public:
  /// `score`: what the benchmark's metric gave for `answers`; what it counts beside the samples is kept as it is.
  ScoreSums(const OpenBenchmark& benchmark, const Answers& answers, const Score& score);

  size_t size() const { return size_; }
  /// What a unit of these samples (all of them scored) adds.
  Additions of(const std::vector<size_t>& samples) const;
  /// The scores of the `size()` sums from `first` on.
  SummedScores scores(const std::vector<double>& sums, size_t first) const;

 private:
  enum class Kind { Mean, Mme, Pope };
  void add_mean(const std::vector<size_t>& samples, Additions& to) const;
  void add_mme(const std::vector<size_t>& samples, Additions& to) const;
  void add_pope(size_t sample, Additions& to) const;
  void keep_unasked();
  SummedScores mean_scores(const double* sums) const;
  SummedScores mme_scores(const double* sums) const;
  SummedScores pope_scores(const double* sums) const;

  const OpenBenchmark& benchmark_;
  const Answers& answers_;
  const Score& score_;
  Kind kind_;
  std::map<std::string, size_t> start_;  // category -> its first sum; means: "" is all units
  std::vector<double> unasked_;          // [size()] sums of what is counted beside the samples
  size_t size_ = 0;
};

}  // namespace yopo
