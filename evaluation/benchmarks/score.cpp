#include "evaluation/benchmarks/score.h"

#include <algorithm>

#include "core/error.h"

namespace yopo {

const std::string& answer_to(const Sample& sample, const Answers& answers) {
  const auto found = answers.text.find(question_key(sample));
  require(found != answers.text.end(), "{}: no answer for question {} ({}){}{}", answers.where, printable(sample.id),
          sample.where, answers.others.empty() ? "" : "; ", answers.others);
  return found->second;
}

Score sorted(Score score) {
  std::sort(score.categories.begin(), score.categories.end());
  std::sort(score.details.begin(), score.details.end());
  return score;
}

double ratio(double sum, int64_t count) { return count == 0 ? 0.0 : sum / double(count); }

}  // namespace yopo
