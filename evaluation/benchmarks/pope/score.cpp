#include "evaluation/benchmarks/pope/score.h"

#include "text/unicode.h"

namespace yopo {

namespace {

struct YesNoCounts {
  int64_t true_yes = 0, false_yes = 0, true_no = 0, false_no = 0;
  int64_t said_yes = 0, labelled_yes = 0, right = 0, all = 0;
};

void add(YesNoCounts& counts, YesNo said, bool label) {
  ++counts.all;
  counts.labelled_yes += label ? 1 : 0;
  counts.said_yes += said == YesNo::Yes ? 1 : 0;
  if (said == YesNo::Yes) ++(label ? counts.true_yes : counts.false_yes);
  if (said == YesNo::No) ++(label ? counts.false_no : counts.true_no);
  counts.right += said == (label ? YesNo::Yes : YesNo::No) ? 1 : 0;
}

}  // namespace

YesNo pope_answer(const std::string& answer, std::string_view protocol) {
  if (protocol == "lmms") {
    const std::string text(strip(lower(answer)));
    return text == "yes" ? YesNo::Yes : text == "no" ? YesNo::No : YesNo::Neither;
  }
  const std::string sentence = replace_all(answer.substr(0, answer.find('.')), ",", "");
  for (size_t at = 0; at <= sentence.size();) {
    const size_t end = std::min(sentence.find(' ', at), sentence.size());
    const std::string_view word = std::string_view(sentence).substr(at, end - at);
    if (word == "No" || word == "not" || word == "no") return YesNo::No;
    at = end + 1;
  }
  return YesNo::Yes;
}

Score score_pope(const Pope& data, const Answers& answers, std::string_view protocol) {
  Score score;
  std::map<std::string, YesNoCounts> splits;
  int64_t neither = 0;
  for (size_t i = 0; i < data.samples.size(); ++i) {
    const YesNo said = pope_answer(answer_to(data.samples[i], answers), protocol);
    const bool label = data.questions[i].yes;
    add(splits[data.samples[i].category], said, label);
    neither += said == YesNo::Neither ? 1 : 0;
    score.groups.push_back({data.samples[i].category});
    score.values.push_back(said == (label ? YesNo::Yes : YesNo::No) ? 1 : 0);
  }
  for (const auto& [name, counts] : splits) {
    const double precision = ratio(double(counts.true_yes), counts.true_yes + counts.false_yes);
    const double recall = ratio(double(counts.true_yes), counts.true_yes + counts.false_no);
    const double f1 = precision + recall == 0 ? 0 : 2 * precision * recall / (precision + recall);
    const int64_t yes = protocol == "lmms" ? counts.labelled_yes : counts.said_yes;
    score.score += f1;
    score.count += counts.all;
    score.categories.emplace_back(name + "/accuracy", ratio(double(counts.right), counts.all));
    score.categories.emplace_back(name + "/precision", precision);
    score.categories.emplace_back(name + "/recall", recall);
    score.categories.emplace_back(name + "/f1", f1);
    score.categories.emplace_back(name + "/yes_ratio", ratio(double(yes), counts.all));
    score.details.emplace_back(name + "/true_yes", counts.true_yes);
    score.details.emplace_back(name + "/false_yes", counts.false_yes);
    score.details.emplace_back(name + "/true_no", counts.true_no);
    score.details.emplace_back(name + "/false_no", counts.false_no);
  }
  if (protocol == "lmms") score.details.emplace_back("neither", neither);
  score.score = ratio(score.score, int64_t(splits.size()));
  return sorted(std::move(score));
}

}  // namespace yopo
