#include "models/families/rope_config.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/remarks.h"
#include "models/families/common_keys.h"
#include "models/families/parts.h"

namespace yopo {

namespace {

/// The object that says it, and its name; null where there is none.
struct RopeObject {
  const Json* object = nullptr;
  std::string where;
};

RopeObject rope_object(const Json& config, const std::string& where) {
  RopeObject found;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!has(config, key) || get_object(config, key, where).empty()) continue;
    require(found.object == nullptr || *found.object == config[key],
            "{}: rope_parameters and rope_scaling say different things ({} and {}); remove one of them", where,
            found.object ? printable(found.object->dump()) : "", printable(config[key].dump()));
    found = {&config[key], where + ": " + key};
  }
  return found;
}

double at_least(const Json& object, const char* key, const std::string& where, double low, double fallback) {
  const double value =
      std::isnan(fallback) ? get_number(object, key, where) : get_number_or(object, key, where, fallback);
  require(value >= low && value <= 1e9, "{}: {}: expected {} or more, found {}", where, key, low, value);
  return value;
}

double factor_of(const Json& object, const std::string& where) { return at_least(object, "factor", where, 1, NAN); }

std::vector<float> divisors(const Json& object, const char* key, const std::string& where, int64_t count) {
  const Json& list = get_array(object, key, where);
  require(int64_t(list.size()) == count, "{}: {}: expected {} numbers (half of head_dim), found {}", where, key, count,
          list.size());
  std::vector<float> factors;
  for (const Json& value : list) {
    require(value.is_number(), "{}: {}: expected numbers, found {}", where, key, printable(value.dump()));
    factors.push_back(value.get<float>());
    require(factors.back() > 0 && factors.back() < 1e6f, "{}: {}: {} is no divisor of a frequency", where, key,
            factors.back());
  }
  return factors;
}

/// The length the model was trained at: beside the object (Phi-3), in it, or all of the positions.
int64_t original_positions(const Json& config, const Json& object, const std::string& where, int64_t fallback) {
  constexpr const char* kKey = "original_max_position_embeddings";
  return get_int_or(config, kKey, where, 2, int64_t(1) << 40,
                    get_int_or(object, kKey, where, 2, int64_t(1) << 40, fallback));
}

/// How much longer than trained: `factor` where it is given, as transformers 5 reads it, else what the positions say.
double stretch_of(const Json& object, const std::string& where, const DecoderSpec& text) {
  const double ratio = double(text.max_position_embeddings) / double(text.rope.original_positions);
  if (!has(object, "factor")) return ratio;
  const double factor = factor_of(object, where);
  if (std::abs(factor - ratio) > 1e-6 * ratio)
    remark(
        fmt::format("{}: factor {} is not max_position_embeddings over original_max_position_embeddings ({}); {} is "
                    "taken, as transformers 5 does, where transformers 4 takes {}",
                    where, factor, ratio, factor, ratio));
  return factor;
}

void read_yarn(const Json& object, const std::string& where, DecoderSpec& text) {
  RopeSpec& rope = text.rope;
  rope.scaling = RopeSpec::Scaling::Yarn;
  if (!has(object, "original_max_position_embeddings")) (void)factor_of(object, where);  // one of them says how far
  rope.factor = stretch_of(object, where, text);
  rope.beta_fast = at_least(object, "beta_fast", where, 1e-6, 32);
  rope.beta_slow = at_least(object, "beta_slow", where, 1e-6, 1);
  require(rope.beta_fast >= rope.beta_slow, "{}: beta_fast {} is below beta_slow {}", where, rope.beta_fast,
          rope.beta_slow);
  rope.truncate = get_bool_or(object, "truncate", where, true);
  const auto scale = [&](double weight) { return rope.factor <= 1 ? 1.0 : 0.1 * weight * std::log(rope.factor) + 1; };
  const double mscale = get_number_or(object, "mscale", where, 0),
               all = get_number_or(object, "mscale_all_dim", where, 0);
  rope.attention_factor = mscale != 0 && all != 0 ? scale(mscale) / scale(all) : scale(1);
}

void read_llama3(const Json& object, const std::string& where, RopeSpec& rope) {
  rope.scaling = RopeSpec::Scaling::Llama3;
  rope.factor = factor_of(object, where);
  rope.low_freq_factor = at_least(object, "low_freq_factor", where, 1e-6, NAN);
  rope.high_freq_factor = at_least(object, "high_freq_factor", where, 1e-6, NAN);
  require(rope.high_freq_factor > rope.low_freq_factor, "{}: high_freq_factor {} is not above low_freq_factor {}",
          where, rope.high_freq_factor, rope.low_freq_factor);
}

void read_longrope(const Json& object, const std::string& where, DecoderSpec& text) {
  RopeSpec& rope = text.rope;
  rope.scaling = RopeSpec::Scaling::LongRope;
  rope.short_factor = divisors(object, "short_factor", where, text.head_dim / 2);
  rope.long_factor = divisors(object, "long_factor", where, text.head_dim / 2);
  const double stretch = stretch_of(object, where, text);
  if (stretch > 1) rope.attention_factor = std::sqrt(1 + std::log(stretch) / std::log(double(rope.original_positions)));
}

void read_sections(const Json& object, const std::string& where, DecoderSpec& text) {
  const Json& sections = get_array(object, "mrope_section", where);
  require(sections.size() == 3, "{}: mrope_section: expected 3 numbers (time, row, column), found {}", where,
          sections.size());
  for (const Json& section : sections) {
    require(section.is_number_integer() && section.get<int64_t>() >= 0 && section.get<int64_t>() <= kMaxSize,
            "{}: mrope_section: expected counts, found {}", where, printable(section.dump()));
    text.rope.sections.push_back(section.get<int64_t>());
  }
  text.rope.interleaved = get_bool_or(object, "mrope_interleaved", where, text.rope.interleaved);
  const int64_t sum = std::accumulate(text.rope.sections.begin(), text.rope.sections.end(), int64_t(0));
  require(sum == text.head_dim / 2, "{}: mrope_section: the sections sum to {}, half of head_dim is {}", where, sum,
          text.head_dim / 2);
}

void read_scaling(const Json& config, const RopeObject& found, const std::string& type, DecoderSpec& text) {
  const Json& object = *found.object;
  const std::string& where = found.where;
  RopeSpec& rope = text.rope;
  const int64_t usual = rope.original_positions > 0 ? rope.original_positions : text.max_position_embeddings;
  rope.original_positions = text.max_position_embeddings;
  if (type == "linear") {
    rope.scaling = RopeSpec::Scaling::Linear;
    rope.factor = factor_of(object, where);
    return;
  }
  if (type == "dynamic") {
    rope.scaling = RopeSpec::Scaling::DynamicNtk;
    rope.factor = factor_of(object, where);
    require(text.head_dim > 2, "{}: head_dim {} is too small for a dynamic base", where, text.head_dim);
    return;
  }
  rope.original_positions = original_positions(config, object, where, usual);
  if (type == "yarn") read_yarn(object, where, text);
  if (type == "llama3") read_llama3(object, where, rope);
  if (type == "longrope") read_longrope(object, where, text);
  if (has(object, "attention_factor") && type != "llama3")
    rope.attention_factor = at_least(object, "attention_factor", where, 1e-6, NAN);
}

}  // namespace

void read_rope(const Json& config, const std::string& where, RopeAxes axes, DecoderSpec& text) {
  text.rope.theta = get_number_or(config, "rope_theta", where, text.rope.theta);
  require(get_number_or(config, "partial_rotary_factor", where, 1.0) == 1.0,
          "{}: partial_rotary_factor is not supported", where);
  const RopeObject found = rope_object(config, where);
  if (found.object != nullptr) {
    const Json& object = *found.object;
    check_keys(object, rope_reader(), found.where);
    if (has(object, "rope_theta")) {
      const double theta = get_number(object, "rope_theta", found.where);
      require(!has(config, "rope_theta") || theta == text.rope.theta,
              "{}: rope_theta {} contradicts the rope_theta {} beside it; remove one of them", found.where, theta,
              text.rope.theta);
      text.rope.theta = theta;
    }
    require(get_number_or(object, "partial_rotary_factor", found.where, 1.0) == 1.0,
            "{}: partial_rotary_factor is not supported", found.where);
    std::string type =
        get_string_or(object, "rope_type", found.where, get_string_or(object, "type", found.where, "default"));
    if (type == "su") type = "longrope";  // Phi-3's first name for it
    if (type == "mrope") type = "default";
    const std::vector<std::string> known = {"default", "linear", "dynamic", "yarn", "llama3", "longrope"};
    require(std::find(known.begin(), known.end(), type) != known.end(),
            "{}: rope_type '{}' is not supported; expected one of {}{}", found.where, printable(type),
            fmt::join(known, ", "), did_you_mean(type, known));
    if (type != "default") read_scaling(config, found, type, text);
  }
  require(text.rope.theta > 1 && text.rope.theta <= 1e15, "{}: rope_theta {} must be above 1", where, text.rope.theta);
  if (axes == RopeAxes::One) return;
  require(found.object != nullptr,
          "{}: rope_parameters (or rope_scaling) is missing; expected an object with mrope_section", where);
  read_sections(*found.object, found.where, text);
  const bool by_length =
      text.rope.scaling == RopeSpec::Scaling::DynamicNtk || text.rope.scaling == RopeSpec::Scaling::LongRope;
  require(!by_length, "{}: a rope that changes with the length is not supported with positions along three axes",
          found.where);
}

}  // namespace yopo
