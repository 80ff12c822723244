// The rules that turn a free answer into a letter.
#include <algorithm>
#include <optional>

#include "core/error.h"
#include "evaluation/benchmarks/mmbench/rules.h"
#include "evaluation/benchmarks/mmbench/score.h"
#include "text/unicode.h"

namespace yopo {

namespace {

using Words = std::vector<std::u32string_view>;

bool has_word(const Words& words, std::u32string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

size_t code_points(std::string_view text) { return decode_utf8(text).size(); }

/// The letter behind the first "answer is", any number of * around: `answer\s+is\s+\**([ABCD])`, whatever the case.
char letter_of_phrase(std::u32string_view text) {
  const auto skip = [&](size_t at, auto what) {
    while (at < text.size() && what(text[at])) ++at;
    return at;
  };
  // Without case, the long s is an s too, and the dotless i an i.
  const auto starts = [&](size_t at, std::u32string_view word) {
    if (text.size() - at < word.size()) return false;
    for (size_t i = 0; i < word.size(); ++i) {
      const char32_t c = text[at + i];
      const char32_t low = c == U'\u017F' ? U's' : c == U'\u0131' ? U'i' : c >= U'A' && c <= U'Z' ? c - U'A' + U'a' : c;
      if (low != word[i]) return false;
    }
    return true;
  };
  for (size_t at = 0; at < text.size(); ++at) {
    if (!starts(at, U"answer")) continue;
    const size_t gap = skip(at + 6, is_python_space);
    if (gap == at + 6 || !starts(gap, U"is")) continue;
    const size_t next = skip(gap + 2, is_python_space);
    if (next == gap + 2) continue;
    const size_t letter = skip(next, [](char32_t c) { return c == U'*'; });
    if (letter == text.size()) continue;
    const char32_t c = text[letter];
    if (c >= U'A' && c <= U'D') return char(c);
    if (c >= U'a' && c <= U'd') return char(c - U'a' + U'A');
  }
  return 0;
}

char rule_letter(const std::string& answer, const MmbenchQuestion& question) {
  const std::string_view text = strip(answer);
  if (text.size() != 1) return 0;
  // The right option may be one that was not asked: its text looks like none.
  const bool known = text[0] == question.answer || question.letters.find(text[0]) != std::string::npos;
  return known ? text[0] : 0;
}

char rule_vlmevalkit(const std::string& answer, const MmbenchQuestion& question) {
  constexpr size_t kTail = 5;
  const auto inside = [&](std::string_view part) { return answer.find(part) != std::string::npos; };
  // A failed call to a judge is no option, but its text may still hold one.
  if (!inside("Failed to obtain answer via API")) {
    for (const std::string_view refusal :
         {"Sorry, I can't help with images of people yet.", "I can't process this file.",
          "I'm sorry, but without the image provided", "Cannot determine the answer"})
      if (inside(refusal)) return 'Z';
    const std::u32string text = decode_utf8(answer);
    std::u32string spaced = text;
    for (char32_t& c : spaced)
      if (std::u32string_view(U".()[],:;!*#{}").find(c) != std::u32string_view::npos) c = U' ';
    const Words words = split_words(spaced);
    int64_t count = 0;
    char only = 0;
    for (const auto& [letter, option] : question.choices) {
      const char32_t word[] = {char32_t(letter)};
      if (!has_word(words, {word, 1})) continue;
      ++count;
      only = letter;
    }
    if (count == 1) {
      const char32_t word[] = {char32_t(only)};
      const auto first = std::find(words.begin(), words.end(), std::u32string_view(word, 1));
      if (size_t(first - words.begin()) + kTail > words.size()) return only;
    } else if (count == 0 && has_word(words, U"Z")) {
      return 'Z';
    }
    const char phrase = letter_of_phrase(text);
    if (phrase != 0 && std::any_of(question.choices.begin(), question.choices.end(),
                                   [&](const auto& choice) { return choice.first == phrase; }))
      return phrase;
  }
  size_t length = 0;
  for (const auto& [letter, option] : question.choices) length += code_points(option);
  return code_points(lower(answer)) > 2 * length ? 0 : only_option_inside(answer, question.choices);
}

}  // namespace

char only_option_inside(const std::string& answer, const Choices& choices) {
  const std::string text = lower(answer);
  char found = 0;
  for (const auto& [letter, option] : choices) {
    if (text.find(lower(option)) == std::string::npos) continue;
    if (found != 0) return 0;
    found = letter;
  }
  return found;
}

const std::vector<std::string>& mmbench_rules() {
  static const std::vector<std::string> names = {"letter", "vlmevalkit", "lmms"};
  return names;
}

char mmbench_letter(const std::string& answer, const MmbenchQuestion& question, std::string_view rule) {
  if (rule == "letter") return rule_letter(answer, question);
  if (rule == "vlmevalkit") return rule_vlmevalkit(answer, question);
  ensure(rule == "lmms", "a rule that is not known");
  return rule_lmms(answer, question);
}

}  // namespace yopo
