#include "evaluation/benchmarks/vqa_text.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>

#include "core/error.h"
#include "text/unicode.h"

namespace yopo {

namespace {

/// In the order of the original: each is tested on the text as it came in, then removed from the text as edited so far.
/// None is a space or a period, so what one edit leaves never changes the test of another.
constexpr std::u32string_view kPunctuation = U";/[]\"{}()=+\\_-><@`,?!";

/// `re.UNICODE` stands where the count of removals belongs in the original: its value is 32.
constexpr int kPeriodRemovals = 32;

const std::unordered_map<std::u32string_view, std::u32string_view>& number_words() {
  static const std::unordered_map<std::u32string_view, std::u32string_view> words = {
      {U"none", U"0"}, {U"zero", U"0"}, {U"one", U"1"},   {U"two", U"2"},   {U"three", U"3"}, {U"four", U"4"},
      {U"five", U"5"}, {U"six", U"6"},  {U"seven", U"7"}, {U"eight", U"8"}, {U"nine", U"9"},  {U"ten", U"10"},
  };
  return words;
}

/// The VQA contraction table as published, oddities included ("somebody'd" loses its apostrophe). Its four keys with a
/// capital ("Id've", "I'dve", "Im", "Ive") are left out: the text is lower-case by then, so they never fire.
const std::unordered_map<std::u32string_view, std::u32string_view>& contractions() {
  static const std::unordered_map<std::u32string_view, std::u32string_view> table = {
      {U"aint", U"ain't"},
      {U"arent", U"aren't"},
      {U"cant", U"can't"},
      {U"couldve", U"could've"},
      {U"couldnt", U"couldn't"},
      {U"couldn'tve", U"couldn't've"},
      {U"couldnt've", U"couldn't've"},
      {U"didnt", U"didn't"},
      {U"doesnt", U"doesn't"},
      {U"dont", U"don't"},
      {U"hadnt", U"hadn't"},
      {U"hadnt've", U"hadn't've"},
      {U"hadn'tve", U"hadn't've"},
      {U"hasnt", U"hasn't"},
      {U"havent", U"haven't"},
      {U"hed", U"he'd"},
      {U"hed've", U"he'd've"},
      {U"he'dve", U"he'd've"},
      {U"hes", U"he's"},
      {U"howd", U"how'd"},
      {U"howll", U"how'll"},
      {U"hows", U"how's"},
      {U"isnt", U"isn't"},
      {U"itd", U"it'd"},
      {U"itd've", U"it'd've"},
      {U"it'dve", U"it'd've"},
      {U"itll", U"it'll"},
      {U"let's", U"let's"},
      {U"maam", U"ma'am"},
      {U"mightnt", U"mightn't"},
      {U"mightnt've", U"mightn't've"},
      {U"mightn'tve", U"mightn't've"},
      {U"mightve", U"might've"},
      {U"mustnt", U"mustn't"},
      {U"mustve", U"must've"},
      {U"neednt", U"needn't"},
      {U"notve", U"not've"},
      {U"oclock", U"o'clock"},
      {U"oughtnt", U"oughtn't"},
      {U"ow's'at", U"'ow's'at"},
      {U"'ows'at", U"'ow's'at"},
      {U"'ow'sat", U"'ow's'at"},
      {U"shant", U"shan't"},
      {U"shed've", U"she'd've"},
      {U"she'dve", U"she'd've"},
      {U"she's", U"she's"},
      {U"shouldve", U"should've"},
      {U"shouldnt", U"shouldn't"},
      {U"shouldnt've", U"shouldn't've"},
      {U"shouldn'tve", U"shouldn't've"},
      {U"somebody'd", U"somebodyd"},
      {U"somebodyd've", U"somebody'd've"},
      {U"somebody'dve", U"somebody'd've"},
      {U"somebodyll", U"somebody'll"},
      {U"somebodys", U"somebody's"},
      {U"someoned", U"someone'd"},
      {U"someoned've", U"someone'd've"},
      {U"someone'dve", U"someone'd've"},
      {U"someonell", U"someone'll"},
      {U"someones", U"someone's"},
      {U"somethingd", U"something'd"},
      {U"somethingd've", U"something'd've"},
      {U"something'dve", U"something'd've"},
      {U"somethingll", U"something'll"},
      {U"thats", U"that's"},
      {U"thered", U"there'd"},
      {U"thered've", U"there'd've"},
      {U"there'dve", U"there'd've"},
      {U"therere", U"there're"},
      {U"theres", U"there's"},
      {U"theyd", U"they'd"},
      {U"theyd've", U"they'd've"},
      {U"they'dve", U"they'd've"},
      {U"theyll", U"they'll"},
      {U"theyre", U"they're"},
      {U"theyve", U"they've"},
      {U"twas", U"'twas"},
      {U"wasnt", U"wasn't"},
      {U"wed've", U"we'd've"},
      {U"we'dve", U"we'd've"},
      {U"weve", U"we've"},
      {U"werent", U"weren't"},
      {U"whatll", U"what'll"},
      {U"whatre", U"what're"},
      {U"whats", U"what's"},
      {U"whatve", U"what've"},
      {U"whens", U"when's"},
      {U"whered", U"where'd"},
      {U"wheres", U"where's"},
      {U"whereve", U"where've"},
      {U"whod", U"who'd"},
      {U"whod've", U"who'd've"},
      {U"who'dve", U"who'd've"},
      {U"wholl", U"who'll"},
      {U"whos", U"who's"},
      {U"whove", U"who've"},
      {U"whyll", U"why'll"},
      {U"whyre", U"why're"},
      {U"whys", U"why's"},
      {U"wont", U"won't"},
      {U"wouldve", U"would've"},
      {U"wouldnt", U"wouldn't"},
      {U"wouldnt've", U"wouldn't've"},
      {U"wouldn'tve", U"wouldn't've"},
      {U"yall", U"y'all"},
      {U"yall'll", U"y'all'll"},
      {U"y'allll", U"y'all'll"},
      {U"yall'd've", U"y'all'd've"},
      {U"y'alld've", U"y'all'd've"},
      {U"y'all'dve", U"y'all'd've"},
      {U"youd", U"you'd"},
      {U"youd've", U"you'd've"},
      {U"you'dve", U"you'd've"},
      {U"youll", U"you'll"},
      {U"youre", U"you're"},
      {U"youve", U"you've"},
  };
  return table;
}

/// Newline and tab become spaces, the ends are stripped.
std::u32string plain(std::u32string text) {
  std::replace_if(
      text.begin(), text.end(), [](char32_t c) { return c == U'\n' || c == U'\t'; }, U' ');
  return std::u32string(strip(text));
}

/// Lower-cases, drops "," and "?", sets "'s" apart, makes newline and tab spaces, strips.
std::u32string first_pass(std::string_view answer) {
  std::u32string out;
  const std::u32string text = lower(decode_utf8(answer));
  for (char32_t c : text) {
    if (c == U',' || c == U'?') continue;
    // Behind the two removals, so "',s" is "'s" too: each removal of the original is over the whole text.
    if (c == U's' && !out.empty() && out.back() == U'\'') {
      out.back() = U' ';
      out += U'\'';
    }
    out += c;
  }
  return plain(std::u32string(strip(out)));
}

/// Whether one comma, or of `runs` one or more, stand between two digits anywhere.
bool comma_between_digits(std::u32string_view text, bool runs) {
  for (size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] != U',' || !is_decimal_digit(text[i - 1])) continue;
    size_t end = i + 1;
    while (runs && end < text.size() && text[end] == U',') ++end;
    if (end < text.size() && is_decimal_digit(text[end])) return true;
  }
  return false;
}

/// Punctuation goes where one of its kind touches a space anywhere in the input or a comma stands between digits, else
/// it becomes a space. Then the periods no digit follows, up to 32 of them: the pattern's mistyped look-behind asks
/// nothing of what stands before.
std::u32string punctuation_pass(std::u32string_view text, bool comma_runs = false) {
  std::array<bool, 128> touches_space{}, punctuation{};
  const bool delete_all = comma_between_digits(text, comma_runs);
  for (char32_t p : kPunctuation) {
    punctuation[p] = true;
    touches_space[p] = delete_all || text.find(std::u32string{p, U' '}) != std::u32string_view::npos ||
                       text.find(std::u32string{U' ', p}) != std::u32string_view::npos;
  }
  std::u32string spaced;
  for (char32_t c : text) {
    if (c >= 128 || !punctuation[c]) {
      spaced += c;
    } else if (!touches_space[c]) {
      spaced += U' ';
    }
  }
  std::u32string out;
  int removed = 0;
  for (size_t i = 0; i < spaced.size(); ++i) {
    const bool before_digit = i + 1 < spaced.size() && is_decimal_digit(spaced[i + 1]);
    if (spaced[i] == U'.' && !before_digit && removed < kPeriodRemovals) {
      ++removed;
    } else {
      out += spaced[i];
    }
  }
  return out;
}

std::u32string word_pass(std::u32string_view text) {
  std::u32string out;
  bool first = true;
  for (std::u32string_view word : split_words(text)) {
    if (const auto number = number_words().find(word); number != number_words().end()) word = number->second;
    if (word == U"a" || word == U"an" || word == U"the") continue;
    if (const auto whole = contractions().find(word); whole != contractions().end()) word = whole->second;
    if (!first) out += U' ';
    first = false;
    out += word;
  }
  return out;
}

void check_annotators(const std::vector<std::string>& expected) {
  require(expected.size() == kAnnotators, "the official scorer expects the answers of {} annotators, found {}",
          kAnnotators, expected.size());
}

/// The mean over the annotators of min(1, matches among the others / 3); `match`: whose answer it is.
double soft_accuracy(const std::vector<bool>& match) {
  const double matches = double(std::count(match.begin(), match.end(), true));
  double sum = 0;
  for (const bool own : match) sum += std::min(1.0, (matches - (own ? 1 : 0)) / 3);
  return sum / double(match.size());
}

}  // namespace

std::string evalai_normalize(const std::string& answer) {
  return encode_utf8(word_pass(punctuation_pass(first_pass(answer))));
}

std::string vqa_official_normalize(const std::string& answer) {
  return encode_utf8(word_pass(lower(punctuation_pass(decode_utf8(answer)))));
}

double vqa_lmms_score(const std::string& answer, const std::vector<std::string>& expected) {
  check_annotators(expected);
  const auto normal = [](const std::string& text) {
    return word_pass(lower(punctuation_pass(plain(decode_utf8(text)), true)));
  };
  const std::u32string said = normal(answer);
  std::vector<bool> match;
  match.reserve(expected.size());
  for (const std::string& one : expected) match.push_back(normal(one) == said);
  return soft_accuracy(match);
}

double vqa_official_score(const std::string& answer, const std::vector<std::string>& expected) {
  check_annotators(expected);
  std::vector<std::u32string> given;
  given.reserve(expected.size());
  for (const std::string& one : expected) given.push_back(plain(decode_utf8(one)));
  std::u32string said = plain(decode_utf8(answer));
  if (std::any_of(given.begin(), given.end(), [&](const std::u32string& one) { return one != given[0]; })) {
    for (std::u32string& one : given) one = word_pass(lower(punctuation_pass(one)));
    said = word_pass(lower(punctuation_pass(said)));
  }
  std::vector<bool> match;
  match.reserve(given.size());
  for (const std::u32string& one : given) match.push_back(one == said);
  return soft_accuracy(match);
}

double vqa_score(const std::string& answer, const std::vector<std::string>& expected) {
  require(expected.size() == 1 || expected.size() == kAnnotators,
          "a question is scored against one expected answer or against those of ten annotators, found {}",
          expected.size());
  const std::string said = evalai_normalize(answer);
  std::vector<bool> match;
  match.reserve(expected.size());
  for (const std::string& one : expected) match.push_back(evalai_normalize(one) == said);
  if (expected.size() == 1) return match[0] ? 1.0 : 0.0;
  return soft_accuracy(match);
}

}  // namespace yopo
