// Values that recipes and command-line flags share: sizes, amounts to keep, named choices.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/recipe.h"
#include "core/yaml.h"

namespace yopo {

namespace {

template <typename Value>
struct Choice {
  Value value;
  std::string_view name;
};

constexpr Choice<Queries> kQueries[] = {
    {Queries::Prefill, "prefill"}, {Queries::Text, "text"}, {Queries::Decode, "decode"}};
constexpr Choice<NeuronScore> kScores[] = {{NeuronScore::MeanAbs, "mean_abs"},
                                           {NeuronScore::Rms, "rms"},
                                           {NeuronScore::Active, "active"},
                                           {NeuronScore::Wanda, "wanda"}};

template <typename Value, size_t N>
Value parse_choice(const Choice<Value> (&choices)[N], std::string_view text, const std::string& where) {
  std::vector<std::string> names;
  for (const auto& choice : choices) {
    if (choice.name == text) return choice.value;
    names.emplace_back(choice.name);
  }
  fail("{}: expected one of {}; found '{}'{}", where, fmt::join(names, ", "), printable(text),
       did_you_mean(text, names));
}

template <typename Value, size_t N>
std::string_view name_in(const Choice<Value> (&choices)[N], Value value) {
  for (const auto& choice : choices)
    if (choice.value == value) return choice.name;
  ensure(false, "choice outside its enum");
  return "";
}

}  // namespace

uint64_t parse_size(std::string_view text, const std::string& where) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"", 1},      {"b", 1},        {"kb", 1e3},     {"mb", 1e6},     {"gb", 1e9},
                             {"tb", 1e12}, {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}, {"tib", 0x1p40}};
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string unit(text.substr(digits));
  unit.erase(0, unit.find_first_not_of(' ') == std::string::npos ? 0 : unit.find_first_not_of(' '));
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  double number = 0;
  const auto found = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.name == unit; });
  require(parse_decimal(text.substr(0, digits), number) && found != std::end(kUnits),
          "{}: expected a size such as 5GB, 512MiB or 1000 (bytes); found '{}'", where, printable(text));
  const double bytes = std::floor(number * found->bytes);
  // 2^53: every whole number of bytes up to there is exact.
  require(bytes >= 1 && bytes <= 0x1p53, "{}: a size should lie between 1 byte and 8 PiB; found '{}'", where,
          printable(text));
  return uint64_t(bytes);
}

Keep parse_keep(std::string_view text, const std::string& where) {
  constexpr int64_t kMost = 1'000'000'000;
  int64_t count = 0;
  if (parse_decimal(text, count)) {
    require(count >= 0 && count <= kMost, "{}: a count should lie in [0, {}]; found '{}'", where, kMost,
            printable(text));
    return {false, double(count)};
  }
  double fraction = 0;
  require(parse_decimal(text, fraction), "{}: expected a count (16) or a fraction (0.25); found '{}'", where,
          printable(text));
  require(fraction >= 0 && fraction <= 1,
          "{}: a fraction should lie in [0, 1]; found '{}' (a count has no decimal point)", where, printable(text));
  return {true, std::abs(fraction)};  // no negative zero
}

Queries parse_queries(std::string_view text, const std::string& where) { return parse_choice(kQueries, text, where); }
NeuronScore parse_score(std::string_view text, const std::string& where) { return parse_choice(kScores, text, where); }
std::string_view name_of(Queries queries) { return name_in(kQueries, queries); }
std::string_view name_of(NeuronScore score) { return name_in(kScores, score); }

}  // namespace yopo
