#include "plans/options.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/values.h"

namespace yopo {

namespace {

constexpr NamedValue<NeuronScore> kScores[] = {{NeuronScore::MeanAbs, "mean_abs"},
                                               {NeuronScore::Rms, "rms"},
                                               {NeuronScore::Active, "active"},
                                               {NeuronScore::Wanda, "wanda"}};

}  // namespace

OptionPlace OptionPlace::section(const std::string& section) const {
  OptionPlace place = *this;
  place.section_ = section;
  return place;
}

std::string OptionPlace::all() const { return section_.empty() ? where_ : where_ + ": " + section_; }

std::string OptionPlace::of(const std::string& option) const {
  if (!name_) return all() + ": " + option;
  return where_ + ": " + name_(section_.empty() ? option : section_ + "." + option);
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

NeuronScore parse_score(std::string_view text, const std::string& where) { return parse_choice(kScores, text, where); }
std::string_view name_of(NeuronScore score) { return name_in(kScores, score); }
std::string_view name_of(Scope scope) { return scope == Scope::Layer ? "layer" : "model"; }

int64_t exempt_layers(const HeadOptions& options) { return options.exempt_layers.value_or(options.threshold ? 2 : 0); }

int64_t whole_neurons(const FfnOptions& options, int64_t count, int64_t width) {
  constexpr int64_t many = 2048, usual = 32;
  const int64_t unit = options.multiple.value_or(options.keep.fraction && width >= many ? usual : 1);
  if (count == 0 || count == width) return count;
  return std::min(width, std::max<int64_t>(1, (2 * count + unit) / (2 * unit)) * unit);
}

int64_t kept_count(const Keep& keep, int64_t whole, std::string_view what, std::string_view there,
                   const std::string& where) {
  if (keep.fraction) {
    require(keep.value >= 0 && keep.value <= 1, "{}: expected a fraction in [0, 1], found {}", where, keep.value);
    return std::llround(keep.value * double(whole));
  }
  require(keep.value >= 0 && keep.value == std::floor(keep.value), "{}: expected a count, found {}", where, keep.value);
  require(keep.value <= double(whole),
          "{}: {:.0f} {} are above the {} {} (as a fraction, write it with a decimal point)", where, keep.value, what,
          whole, there);
  return int64_t(keep.value);
}

int64_t visual_layer_count(const PlanOptions& options, int64_t layers, const OptionPlace& place) {
  if (!options.visual_layers) return layers;
  return kept_count(*options.visual_layers, layers, "layers", "that the model has", place.of("visual_layers"));
}

}  // namespace yopo
