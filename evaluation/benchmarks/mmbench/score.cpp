#include "evaluation/benchmarks/mmbench/score.h"

#include <cmath>

#include "core/error.h"

namespace yopo {

Score score_mmbench(const Mmbench& data, const Answers& answers, std::string_view rule) {
  Score score;
  score.scored = data.annotated;
  struct Group {
    bool hit = true;
    const MmbenchQuestion* main = nullptr;
  };
  std::map<int64_t, Group> groups;
  int64_t rows = 0, no_letter = 0;
  for (size_t i = 0; i < data.samples.size(); ++i) {
    const MmbenchQuestion& question = data.questions[i];
    const int64_t number = question.index % kMmbenchRotation;
    score.units.push_back(number);
    std::vector<std::string>& names = score.groups.emplace_back();
    if (question.index == number && !question.category.empty()) names.push_back("category/" + question.category);
    if (question.index == number && !question.l2_category.empty())
      names.push_back("l2-category/" + question.l2_category);
    if (!question.scored || !data.annotated) {
      score.values.push_back(NAN);
      continue;
    }
    const char letter = mmbench_letter(answer_to(data.samples[i], answers), question, rule);
    const bool hit = letter == question.answer;
    score.values.push_back(hit ? 1 : 0);
    ++rows;
    no_letter += letter == 0 ? 1 : 0;
    Group& group = groups[number];
    group.hit = group.hit && hit;
    if (question.index == number) group.main = &question;
  }
  if (!data.annotated) {
    score.count = int64_t(data.samples.size());
    return score;
  }
  require(!groups.empty(), "{}: no group has its main row, so none is scored", answers.where);
  std::map<std::string, std::pair<int64_t, int64_t>> categories;  // hits, groups
  int64_t hits = 0;
  for (const auto& [number, group] : groups) {
    ensure(group.main != nullptr, "a scored group without its main row");
    hits += group.hit ? 1 : 0;
    for (const auto& [kind, name] :
         {std::pair("category", &group.main->category), {"l2-category", &group.main->l2_category}}) {
      if (name->empty()) continue;
      auto& [right, all] = categories[fmt::format("{}/{}", kind, *name)];
      right += group.hit ? 1 : 0;
      ++all;
    }
  }
  score.count = int64_t(groups.size());
  score.score = ratio(double(hits), score.count);
  for (const auto& [name, counts] : categories)
    score.categories.emplace_back(name, ratio(double(counts.first), counts.second));
  score.details = {{"groups right", hits}, {"no letter", no_letter}, {"rows", rows}};
  return sorted(std::move(score));
}

}  // namespace yopo
