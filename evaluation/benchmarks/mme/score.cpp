#include "evaluation/benchmarks/mme/score.h"

#include <algorithm>

#include "text/unicode.h"

namespace yopo {

namespace {

constexpr size_t kPrefix = 4;  // code points

struct Counts {
  int64_t questions = 0, right = 0, neither = 0;
  std::map<int64_t, int64_t> pairs;  // pair -> right ones of its two
};

}  // namespace

YesNo mme_answer(const std::string& answer, std::string_view protocol) {
  std::u32string text = lower(decode_utf8(answer));
  if (protocol == "lmms") {
    text = decode_utf8(replace_all(std::string(strip(encode_utf8(text))), ".", ""));
    if (text.size() == 1) return text == U"y" ? YesNo::Yes : text == U"n" ? YesNo::No : YesNo::Neither;
  }
  const std::u32string start = text.substr(0, kPrefix);
  if (start.find(U"yes") != std::u32string::npos) return YesNo::Yes;
  return start.find(U"no") != std::u32string::npos ? YesNo::No : YesNo::Neither;
}

Score score_mme(const Mme& data, const Answers& answers, std::string_view protocol) {
  Score score;
  std::map<std::string, Counts> categories;
  for (size_t i = 0; i < data.samples.size(); ++i) {
    const MmeQuestion& question = data.questions[i];
    const YesNo said = mme_answer(answer_to(data.samples[i], answers), protocol);
    const bool hit = said == (question.yes ? YesNo::Yes : YesNo::No);
    Counts& counts = categories[question.category];
    ++counts.questions;
    counts.right += hit ? 1 : 0;
    counts.neither += said == YesNo::Neither ? 1 : 0;
    counts.pairs[question.pair] += hit ? 1 : 0;
    score.values.push_back(hit ? 1 : 0);
    score.units.push_back(question.pair);
    score.groups.push_back({question.category});
  }
  double sums[2] = {0, 0};  // perception, cognition
  for (size_t i = 0; i < mme_categories().size(); ++i) {
    const auto found = categories.find(mme_categories()[i]);
    if (found == categories.end()) continue;
    const auto& [name, counts] = *found;
    int64_t both = 0;
    for (const auto& [pair, right] : counts.pairs) both += right == 2 ? 1 : 0;
    const int64_t pairs = int64_t(counts.pairs.size());
    const double points = 100 * ratio(double(counts.right), counts.questions) + 100 * ratio(double(both), pairs);
    const bool cognition = i >= kMmePerception;
    sums[cognition] += points;
    score.count += counts.questions;
    score.categories.emplace_back(name, points);
    score.details.emplace_back(name + "/questions", counts.questions);
    score.details.emplace_back(name + "/right", counts.right);
    score.details.emplace_back(name + "/pairs", pairs);
    score.details.emplace_back(name + "/both right", both);
    score.details.emplace_back(name + "/neither", counts.neither);
  }
  score.categories.emplace_back("perception", sums[0]);
  score.categories.emplace_back("cognition", sums[1]);
  score.score = sums[0];
  return sorted(std::move(score));
}

}  // namespace yopo
