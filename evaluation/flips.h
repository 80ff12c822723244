// Two models' answers to the same questions: what the difference is worth, and which answers changed.
#pragma once

#include "core/json.h"
#include "evaluation/benchmarks/open.h"

namespace yopo {

/// A score of both, and the 95 % interval of its difference (after - before).
struct ComparedScore {
  std::string name;
  double before = 0, after = 0;
  double low = 0, high = 0;
  double difference() const { return after - before; }
};

/// A question whose answer changed sides. A question is right from half of its score on (soft accuracies).
struct Flip {
  std::string id;  // question_id
  bool integer_id = false;
  std::string question;       // its prompt where the id alone does not tell it; else ""
  std::string before, after;  // the answers; "" where there is none
  size_t sample = 0;          // among the benchmark's
};

struct AnswerComparison {
  std::string benchmark, protocol, rule, before, after;  // the last two: the answer files
  int64_t questions = 0;                                 // scored
  int64_t units = 0;                                     // what is resampled
  std::string unit;  // in the plural: "questions", or as the benchmark's record says
  int64_t resamples = 0;
  uint64_t seed = 0;
  std::vector<ComparedScore> scores;                 // sorted by name; the headline, "score", is the last
  std::vector<Flip> right_to_wrong, wrong_to_right;  // in the order of the questions
  int64_t changed = 0;                               // answers whose text differs, flipped or not
};

struct BootstrapOptions {
  int64_t resamples = 10'000;
  uint64_t seed = 0;
};

/// Scores both and resamples the units with replacement, the same draws for both sides (paired bootstrap; Efron and
/// Tibshirani, An Introduction to the Bootstrap, chapter 13: percentile interval, linear between the order statistics).
/// Every score is worked out anew from each resample's counts, as the benchmark's record says (Resampling): F1 from
/// counts, not from means. What was not asked, though it is scored, is not drawn and counts as it is. The generator is
/// our own and is counted, not stateful, so the interval depends on the seed alone. UserError for a benchmark without
/// labels, and as the metrics say.
AnswerComparison compare_answers(const OpenBenchmark& benchmark, const Answers& before, const Answers& after,
                                 const BootstrapOptions& options = {});

Json comparison_to_json(const AnswerComparison& comparison);
/// Rows of a table with its head: the scores; and the flips, at most `limit` of each kind.
std::vector<std::vector<std::string>> comparison_rows(const AnswerComparison& comparison);
std::vector<std::vector<std::string>> flip_rows(const AnswerComparison& comparison, size_t limit);

}  // namespace yopo
