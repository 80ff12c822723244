// A benchmark's scores as functions of sums over its units, so that any sample of the units can be scored.
#pragma once

#include <functional>

#include "evaluation/benchmarks/score.h"
#include "evaluation/bootstrap.h"

namespace yopo {

struct SummedScores {
  std::map<std::string, double> categories;
  double score = 0;  // the headline
};

/// What one model's answers add to the sums behind its scores. The functions refer to what they were made of.
struct ScoreSums {
  size_t size = 0;             // how many sums
  std::vector<double> beside;  // [size] of what is counted but never drawn (questions that were not asked)
  /// What a unit of these samples (all of them scored) adds.
  std::function<Additions(const std::vector<size_t>& samples)> of;
  /// The scores of sums [size] that hold `beside` already.
  std::function<SummedScores(const double* sums)> scores;
};

/// Right and counted of what is counted but was not asked.
struct MeanPart {
  double right = 0, count = 0;
};

/// Scores that are means, of all units and of each category in Score::groups: a unit of several questions is as right
/// as its worst. `beside`: by category, "" of all. `headline`: the category that is the score; "": all units.
ScoreSums mean_sums(const Score& score, const std::map<std::string, MeanPart>& beside = {},
                    const std::string& headline = "");

/// The first of each category's `width` sums, for the categories in Score::groups in the order of their names.
std::map<std::string, size_t> sums_of_categories(const Score& score, size_t width);

/// sum / count, and 0 without a count.
double quotient(double sum, double count);

}  // namespace yopo
