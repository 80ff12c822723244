#include "evaluation/benchmarks/scienceqa/score.h"

#include <algorithm>

#include "core/error.h"
#include "core/progress.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr int64_t kOptionLetters = 5;  // the script knows A to E

bool is_option(char c) { return c >= 'A' && c < char('A' + kOptionLetters); }

}  // namespace

char scienceqa_letter(const std::string& answer) {
  if (answer.size() == 1 && is_option(answer[0])) return answer[0];
  if (answer.size() >= 3 && is_option(answer[0]) && answer.compare(1, 2, ". ") == 0) return answer[0];
  constexpr std::string_view start = "The answer is ";
  char letter = 0;
  int64_t matches = 0;
  for (size_t at = answer.find(start); at != std::string::npos;) {
    const size_t end = at + start.size();
    const bool match = end + 1 < answer.size() && answer[end] >= 'A' && answer[end] <= 'Z' && answer[end + 1] != '\n';
    if (match) {
      letter = answer[end];
      ++matches;
    }
    // A match takes the letter and the character behind it; matches do not overlap.
    at = answer.find(start, match ? end + 2 : at + 1);
  }
  return matches == 1 ? letter : 0;
}

char scienceqa_letter_lmms(const std::string& answer) {
  const std::string_view text = strip(answer);
  if (text.size() == 1 && text[0] >= 'a') return scienceqa_letter_lmms(std::string(1, char(text[0] - 'a' + 'A')));
  const bool named = !text.empty() && is_option(text[0]) && (text.size() == 1 || text[1] == '.');
  return named ? text[0] : 0;
}

Score score_scienceqa(const ScienceQa& data, const Answers& answers, std::string_view protocol) {
  Score score;
  int64_t hits = 0, missing = 0, unparsed = 0, image_hits = 0, image_count = 0;
  for (size_t i = 0; i < data.samples.size(); ++i) {
    const ScienceQaQuestion& question = data.questions[i];
    const auto answer = answers.text.find(question_key(data.samples[i]));
    if (answer == answers.text.end()) {
      ++missing;
      score.groups.push_back({"total"});
      score.values.push_back(0);
      continue;
    }
    const char letter = protocol == "lmms" ? scienceqa_letter_lmms(answer->second) : scienceqa_letter(answer->second);
    const int64_t choice = letter - 'A';
    const bool hit = letter != 0 && choice < std::min(question.choices, kOptionLetters) && choice == question.answer;
    score.values.push_back(hit ? 1 : 0);
    unparsed += letter == 0 ? 1 : 0;
    hits += hit ? 1 : 0;
    score.groups.push_back({"total"});
    if (!question.image) continue;
    score.groups.back().push_back("IMG");
    ++image_count;
    image_hits += hit ? 1 : 0;
  }
  if (missing > 0)
    warn(fmt::format("{}: {} questions are not answered; they count as wrong in the total and not at all in IMG",
                     answers.where, missing));
  score.count = int64_t(data.samples.size()) + data.unasked;
  score.score = ratio(double(image_hits), image_count);
  if (image_count > 0) score.categories.emplace_back("IMG", score.score);
  score.categories.emplace_back("total", ratio(double(hits), score.count));
  score.details = {{"IMG", image_count},
                   {"IMG right", image_hits},
                   {"missing", missing + data.unasked},
                   {"no letter", unparsed},
                   {"right", hits}};
  return sorted(std::move(score));
}

}  // namespace yopo
