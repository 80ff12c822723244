#include "plans/options.h"

#include <cmath>

#include "core/error.h"
#include "core/values.h"

namespace yopo {

namespace {

constexpr Choice<NeuronScore> kScores[] = {{NeuronScore::MeanAbs, "mean_abs"},
                                           {NeuronScore::Rms, "rms"},
                                           {NeuronScore::Active, "active"},
                                           {NeuronScore::Wanda, "wanda"}};

}  // namespace

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

NeuronScore parse_score(std::string_view text, const std::string& where) { return parse_choice(kScores, text, where); }
std::string_view name_of(NeuronScore score) { return name_in(kScores, score); }

}  // namespace yopo
