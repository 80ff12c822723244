// What every metric gives, and the answers it is given.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "datasets/sample.h"

namespace yopo {

/// Answers by question_key(sample).
struct Answers {
  std::string where;  // their file, for messages
  std::map<std::string, std::string> text;
  std::string others = {};  // in words, of those to questions that are not asked; "": there are none
};

struct Score {
  bool scored = true;                                      // false: there are no labels (test splits)
  double score = 0;                                        // the benchmark's headline: a fraction, or MME's points
  int64_t count = 0;                                       // questions scored; MMBench: groups
  std::vector<std::pair<std::string, double>> categories;  // sorted by name
  std::vector<std::pair<std::string, int64_t>> details;    // counts behind them, sorted by name
  std::vector<double> values;                              // of each sample in [0, 1]; NaN: not scored
  std::vector<int64_t> units;  // samples of one number are scored together; empty: each on its own
  /// Of each sample: the categories that count it (POPE: its split; MMBench: on the main row). Empty: there are none.
  std::vector<std::vector<std::string>> groups;
};

/// The answer to a question; UserError naming both files if there is none.
const std::string& answer_to(const Sample& sample, const Answers& answers);

/// Sorts categories and details by name.
Score sorted(Score score);

/// sum / count, and 0 without a count.
double ratio(double sum, int64_t count);

}  // namespace yopo
