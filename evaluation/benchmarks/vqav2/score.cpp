#include "evaluation/benchmarks/vqav2/score.h"

#include <cmath>

#include "evaluation/benchmarks/vqa_text.h"

namespace yopo {

Score score_vqav2(const VqaV2& data, const Answers& answers, std::string_view protocol) {
  Score score;
  score.scored = data.annotated;
  std::map<std::string, std::pair<double, int64_t>> types;
  const bool lmms = protocol == "lmms";
  double total = 0;
  const auto add = [&](const std::string& answer, const std::vector<std::string>& expected, const std::string& type) {
    const double value =
        lmms ? vqa_lmms_score(answer, expected) : vqa_official_score(evalai_normalize(answer), expected);
    total += value;
    ++score.count;
    types[type].first += value;
    ++types[type].second;
    return value;
  };
  for (size_t i = 0; i < data.samples.size(); ++i) {
    const std::string& answer = answer_to(data.samples[i], answers);
    score.groups.push_back(data.annotated ? std::vector{data.questions[i].answer_type} : std::vector<std::string>());
    score.values.push_back(data.annotated ? add(answer, data.samples[i].answers, data.questions[i].answer_type) : NAN);
  }
  for (const VqaV2Unasked& one : data.unasked) add("", one.answers, one.answer_type);
  if (!data.annotated) score.count = int64_t(data.samples.size());
  score.score = ratio(total, score.count);
  for (const auto& [name, sum] : types) {
    score.categories.emplace_back(name, ratio(sum.first, sum.second));
    score.details.emplace_back(name, sum.second);
  }
  score.details.emplace_back("not asked", int64_t(data.unasked.size()));
  return sorted(std::move(score));
}

}  // namespace yopo
