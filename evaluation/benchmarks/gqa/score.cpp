#include "evaluation/benchmarks/gqa/score.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "text/unicode.h"

namespace yopo {

namespace {

std::string without_trailing_dots(std::string_view text) {
  while (text.ends_with('.')) text.remove_suffix(1);
  return std::string(text);
}

std::string without_punctuation(std::string text) {
  constexpr std::string_view punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  std::erase_if(text, [&](char c) { return punctuation.find(c) != std::string_view::npos; });
  return text;
}

bool correct(const std::string& answer, const std::string& expected, std::string_view protocol) {
  if (protocol == "lmms") return without_punctuation(lower(answer)) == without_punctuation(lower(expected));
  return lower(without_trailing_dots(answer)) == expected;
}

}  // namespace

Score score_gqa(const Gqa& data, const Answers& answers, std::string_view protocol) {
  Score score;
  int64_t hits[2] = {0, 0}, counts[2] = {0, 0};  // binary, open
  for (size_t i = 0; i < data.samples.size(); ++i) {
    const GqaQuestion& question = data.questions[i];
    score.groups.push_back({question.open ? "open" : "binary"});
    if (!question.balanced) {
      score.values.push_back(NAN);
      continue;
    }
    const bool hit = correct(answer_to(data.samples[i], answers), data.samples[i].answers[0], protocol);
    score.values.push_back(hit ? 1 : 0);
    hits[question.open] += hit ? 1 : 0;
    ++counts[question.open];
  }
  score.count = counts[0] + counts[1];
  require(score.count > 0, "{}: none of the questions is balanced, so none is scored", answers.where);
  score.score = ratio(double(hits[0] + hits[1]), score.count);
  for (const bool open : {false, true}) {
    const std::string name = open ? "open" : "binary";
    if (counts[open] > 0) score.categories.emplace_back(name, ratio(double(hits[open]), counts[open]));
    score.details.emplace_back(name, counts[open]);
    score.details.emplace_back(name + " right", hits[open]);
  }
  return sorted(std::move(score));
}

}  // namespace yopo
