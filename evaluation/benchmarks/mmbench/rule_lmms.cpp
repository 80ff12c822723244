// lmms-eval's rule without its judge: the matching before it, then the letter that stands out most (its task
// mmbench_en_dev_static: tasks/mmbench/mmbench_evals.py and tasks/_task_utils/mcq_extract.py at 75571cf).
#include <algorithm>

#include "evaluation/benchmarks/mmbench/rules.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::u32string_view kLetters = U"ABCDE", kWithoutChoices = U"ABCDEFGH";

/// Of kLetters the one that is a word, or a word in one of twelve brackets and stops; 0 if none or more is.
char32_t matched_letter(std::u32string_view answer) {
  const auto words = split_words(answer);
  const auto has = [&](std::u32string_view word) { return std::find(words.begin(), words.end(), word) != words.end(); };
  const auto only = [&](std::u32string_view before, std::u32string_view behind) -> char32_t {
    char32_t found = 0;
    for (const char32_t letter : kLetters) {
      if (!has(std::u32string(before) + letter + std::u32string(behind))) continue;
      if (found != 0) return 0;
      found = letter;
    }
    return found;
  };
  // Among more than three words an A may be an article: then the bare letter is not looked at.
  const char32_t bare = only(U"", U"");
  if (bare != 0 && !(has(U"A") && words.size() > 3)) return bare;
  constexpr std::pair<std::u32string_view, std::u32string_view> forms[] = {
      {U"", U"."},   {U"", U","}, {U"", U":"},  {U"", U")"},  {U"", U")."}, {U"(", U")"},
      {U"(", U")."}, {U":", U""}, {U":", U","}, {U":", U"."}, {U":", U")"}, {U":", U")."}};
  for (const auto& [before, behind] : forms)
    if (const char32_t found = only(before, behind)) return found;
  return 0;
}

std::u32string_view without(std::u32string_view text, char32_t mark) {
  while (text.starts_with(mark)) text.remove_prefix(1);
  while (text.ends_with(mark)) text.remove_suffix(1);
  return text;
}

/// What announces an answer, in lower case; the last ones are Korean, Chinese and Japanese.
constexpr std::u32string_view kPhrases[] = {U"the answer is",
                                            U"answer is",
                                            U"the correct answer is",
                                            U"correct answer is",
                                            U"the best answer is",
                                            U"best answer is",
                                            U"the correct option is",
                                            U"correct option is",
                                            U"the best option is",
                                            U"best option is",
                                            U"the choice is",
                                            U"choice is",
                                            U"the correct choice is",
                                            U"correct choice is",
                                            U"i choose",
                                            U"i select",
                                            U"i pick",
                                            U"my answer is",
                                            U"my choice is",
                                            U"\uC635\uC158",
                                            U"\uC815\uB2F5\uC740",
                                            U"\uB2F5\uC740",
                                            U"\uB2F5:",
                                            U"\u7B54\u6848\u662F",
                                            U"\u7B54\u6848\u4E3A",
                                            U"\u9009",
                                            U"\u7B54\u3048\u306F"};

/// How a letter stands in an answer, the most telling one last.
enum class Form { Anywhere, Space, RightBracket, Colon, Stop, Brackets, Phrase, End, Start };

/// The letter in the most telling form, of several the one furthest back.
class Standing {
 public:
  void add(char32_t letter, size_t place, Form form) {
    if (letter_ != 0 && std::pair(form, place) <= std::pair(form_, place_)) return;
    letter_ = letter, place_ = place, form_ = form;
  }
  void add_last(char32_t letter, std::u32string_view text, const std::u32string& part, Form form) {
    if (const size_t at = text.rfind(part); at != std::u32string_view::npos) add(letter, at, form);
  }
  char32_t letter() const { return letter_; }

 private:
  char32_t letter_ = 0;
  size_t place_ = 0;
  Form form_ = Form::Anywhere;
};

/// Of these letters the one that stands out most; 0 if there is none. A letter inside a word may be one.
char32_t standing_letter(std::u32string_view answer, std::u32string_view letters) {
  std::u32string_view bare = strip(answer);
  if (bare.empty()) return 0;
  for (const char32_t mark : std::u32string_view(U",.!?;:'\"")) bare = without(bare, mark);
  std::u32string text(1, U' ');
  text.append(bare).push_back(U' ');
  const std::u32string lowered = lower(text);
  const std::u32string_view stripped = strip(text);
  const auto is_letter_at = [&](size_t at) { return at < stripped.size() && is_letter(stripped[at]); };
  Standing found;
  for (const char32_t letter : letters) {
    const std::u32string one(1, letter);
    found.add_last(letter, text, U"(" + one + U")", Form::Brackets);
    found.add_last(letter, text, one + U".", Form::Stop);
    found.add_last(letter, text, one + U":", Form::Colon);
    found.add_last(letter, text, one + U")", Form::RightBracket);
    found.add_last(letter, text, one + U" ", Form::Space);
    for (const std::u32string_view phrase : kPhrases) {
      // As there, the place in the lower-cased text is taken for one in the text, though a letter may become two.
      const size_t at = lowered.find(phrase);
      if (at == std::u32string::npos) continue;
      const size_t behind = text.find(letter, at + phrase.size());
      if (behind != std::u32string::npos) found.add(letter, behind, Form::Phrase);
    }
    if (stripped.starts_with(letter) && !is_letter_at(1)) found.add(letter, 0, Form::Start);
    if (stripped.ends_with(letter) && !(stripped.size() > 1 && is_letter_at(stripped.size() - 2)))
      found.add(letter, text.size() - 1, Form::End);
  }
  if (found.letter() == 0)
    for (const char32_t letter : letters) found.add_last(letter, text, std::u32string(1, letter), Form::Anywhere);
  return found.letter();
}

}  // namespace

char rule_lmms(const std::string& answer, const MmbenchQuestion& question) {
  const std::string_view stripped = strip(answer);
  const std::u32string text = decode_utf8(stripped);
  if (stripped.find("Failed to obtain answer via API") == std::string_view::npos)
    if (const char32_t letter = matched_letter(text)) return char(letter);
  Choices choices;
  std::u32string letters;
  for (const auto& choice : question.choices) {
    if (choice.first > 'D') continue;
    choices.push_back(choice);
    letters += char32_t(choice.first);
  }
  if (const char letter = only_option_inside(std::string(stripped), choices)) return letter;
  return char(standing_letter(text, letters.empty() ? kWithoutChoices : std::u32string_view(letters)));
}

}  // namespace yopo
