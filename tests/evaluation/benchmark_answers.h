// Answers and samples for the tests of the metrics.
#pragma once

#include <initializer_list>

#include "evaluation/benchmarks/score.h"

namespace yopo::testing {

/// Answers to questions "0", "1", ...
inline Answers answers_of(const std::vector<std::string>& texts) {
  Answers answers;
  answers.where = "answers.jsonl";
  for (size_t i = 0; i < texts.size(); ++i) answers.text[std::to_string(i)] = texts[i];
  return answers;
}

inline Sample sample_of(size_t number, const std::vector<std::string>& expected, const std::string& category = "") {
  Sample sample;
  sample.id = std::to_string(number);
  sample.integer_id = true;
  sample.where = "q.jsonl:" + std::to_string(number + 1);
  sample.category = category;
  sample.answers = expected;
  return sample;
}

inline double category(const Score& score, const std::string& name) {
  for (const auto& [known, value] : score.categories)
    if (known == name) return value;
  return -1;
}

inline int64_t detail(const Score& score, const std::string& name) {
  for (const auto& [known, value] : score.details)
    if (known == name) return value;
  return -1;
}

}  // namespace yopo::testing
