#include "evaluation/benchmarks/vqa/score.h"

#include "core/error.h"
#include "evaluation/benchmarks/vqa_text.h"

namespace yopo {

void check_expected(const Sample& sample) {
  require(!sample.answers.empty(), "{}: question {} has no expected answer; give the annotations file", sample.where,
          sample.id);
  require(sample.answers.size() == 1 || sample.answers.size() == 10,
          "{}: question {} has {} expected answers; one is scored, or the ten of VQAv2", sample.where, sample.id,
          sample.answers.size());
}

Score score_plain(const std::vector<Sample>& samples, const Answers& answers) {
  Score score;
  std::map<std::string, std::pair<double, int64_t>> by_category;
  double total = 0;
  for (const Sample& sample : samples) {
    check_expected(sample);
    const double value = vqa_score(answer_to(sample, answers), sample.answers);
    score.values.push_back(value);
    total += value;
    ++score.count;
    score.groups.emplace_back();
    if (sample.category.empty()) continue;
    score.groups.back() = {sample.category};
    by_category[sample.category].first += value;
    ++by_category[sample.category].second;
  }
  require(score.count > 0, "{}: no questions to score", answers.where);
  score.score = ratio(total, score.count);
  for (const auto& [name, sum] : by_category) score.categories.emplace_back(name, ratio(sum.first, sum.second));
  return score;
}

}  // namespace yopo
