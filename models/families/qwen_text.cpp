#include "models/families/qwen_text.h"

#include "models/families/common_keys.h"
#include "models/families/parts.h"

namespace yopo {

namespace {

/// Defaults that both classes have.
DecoderSpec read_qwen(const Json& given, const std::string& where, RopeAxes axes) {
  DecoderSpec defaults;
  defaults.num_hidden_layers = 32;
  defaults.hidden_size = 4096;
  defaults.num_attention_heads = 32;
  defaults.intermediate_size = 22016;
  defaults.vocab_size = 151936;
  defaults.max_position_embeddings = 32768;
  defaults.rms_norm_eps = 1e-6;
  Json config = given;
  if (!config.contains("num_key_value_heads")) config["num_key_value_heads"] = 32;  // null: as many as query heads
  if (has(config, "layer_types"))
    for (const Json& type : get_array(config, "layer_types", where))
      require(type == "full_attention", "{}: layer_types: expected full_attention, found {}", where,
              printable(type.dump()));
  return read_decoder(config, where, defaults, axes);
}

}  // namespace

KnownKeys qwen2_keys() {
  return joined({config_keys(),
                 decoder_keys(),
                 read_keys({"layer_types"}),
                 idle_keys("use_sliding_window is false", {"sliding_window", "max_window_layers"}),
                 {refused_key("use_sliding_window", "[false]", "sliding windows are not supported")}});
}

KnownKeys qwen3_keys() { return joined({qwen2_keys(), read_keys({"attention_bias"})}); }

DecoderSpec qwen2_text(const Json& config, const std::string& where, RopeAxes axes) {
  DecoderSpec text = read_qwen(config, where, axes);
  text.attention_bias = true;
  return text;
}

DecoderSpec qwen3_text(const Json& given, const std::string& where, RopeAxes axes) {
  Json config = given;
  if (!has(config, "head_dim")) config["head_dim"] = 128;
  DecoderSpec text = read_qwen(config, where, axes);
  text.attention_bias = text.output_bias = get_bool_or(config, "attention_bias", where, false);
  text.qk_norm = true;
  return text;
}

}  // namespace yopo
