#include "models/families/llava_parts.h"

#include "models/families/common_keys.h"
#include "models/families/parts.h"

namespace yopo {

namespace {

const char* const kIds = "the root of config.json or text_config says it";
const char* const kTraining = "for training";

}  // namespace

const KnownKeys& llama_keys() {
  static const KnownKeys keys =
      joined({decoder_keys(),
              read_keys({"attention_bias", "tie_word_embeddings"}),
              idle_keys("splits products of the same result", {"pretraining_tp"}),
              {refused_key("mlp_bias", "[false]", "a LLaMA FFN with biases is not supported")}});
  return keys;
}

DecoderSpec llama_spec(const Json& config, const std::string& where) {
  DecoderSpec defaults;
  defaults.num_hidden_layers = 32;
  defaults.hidden_size = 4096;
  defaults.num_attention_heads = 32;
  defaults.intermediate_size = 11008;
  defaults.vocab_size = 32000;
  defaults.max_position_embeddings = 2048;
  defaults.rms_norm_eps = 1e-6;
  DecoderSpec text = read_decoder(config, where, defaults);
  text.attention_bias = text.output_bias = get_bool_or(config, "attention_bias", where, false);
  return text;
}

const KeyReader& clip_reader() {
  static const KeyReader reader = {
      "CLIP's vision_config",
      joined({config_keys(),
              read_keys({"model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                         "image_size", "patch_size", "layer_norm_eps", "hidden_act"}),
              idle_keys("of the text that CLIP compares with", {"projection_dim", "vocab_size"}),
              idle_keys(kTraining, {"dropout"}),
              idle_keys(kIds, {"bos_token_id", "eos_token_id", "pad_token_id"}),
              {refused_key("num_channels", "[3]", "images are RGB")}})};
  return reader;
}

VisionSpec clip_spec(const Json& config, const std::string& where, int64_t feature_layer) {
  check_keys(config, clip_reader(), where);
  VisionSpec defaults;
  defaults.hidden_size = 768;
  defaults.intermediate_size = 3072;
  defaults.num_hidden_layers = 12;
  defaults.num_attention_heads = 12;
  defaults.image_size = 224;
  defaults.patch_size = 32;
  defaults.layer_norm_eps = 1e-5;
  defaults.hidden_act = Activation::QuickGelu;
  VisionSpec vision = read_square_vision(config, where, defaults);
  vision.taps = {{blocks_until(feature_layer, vision.num_hidden_layers, "feature layer", where)}};
  check_vision(vision, where);
  return vision;
}

std::vector<TensorName> clip_names() {
  return {{Role::ClassEmbed, "embeddings.class_embedding"},
          {Role::PatchEmbed, "embeddings.patch_embedding.weight"},
          {Role::PatchBias, "embeddings.patch_embedding.bias"},
          {Role::PositionEmbed, "embeddings.position_embedding.weight"},
          {Role::PreNorm, "pre_layrnorm.weight"},  // spelt so in every CLIP checkpoint
          {Role::PreNormBias, "pre_layrnorm.bias"},
          {Role::Norm1, "encoder.layers.{}.layer_norm1.weight"},
          {Role::Norm1Bias, "encoder.layers.{}.layer_norm1.bias"},
          {Role::VisionQ, "encoder.layers.{}.self_attn.q_proj.weight"},
          {Role::VisionK, "encoder.layers.{}.self_attn.k_proj.weight"},
          {Role::VisionV, "encoder.layers.{}.self_attn.v_proj.weight"},
          {Role::VisionQBias, "encoder.layers.{}.self_attn.q_proj.bias"},
          {Role::VisionKBias, "encoder.layers.{}.self_attn.k_proj.bias"},
          {Role::VisionVBias, "encoder.layers.{}.self_attn.v_proj.bias"},
          {Role::VisionO, "encoder.layers.{}.self_attn.out_proj.weight"},
          {Role::VisionOBias, "encoder.layers.{}.self_attn.out_proj.bias"},
          {Role::Norm2, "encoder.layers.{}.layer_norm2.weight"},
          {Role::Norm2Bias, "encoder.layers.{}.layer_norm2.bias"},
          {Role::Fc1, "encoder.layers.{}.mlp.fc1.weight"},
          {Role::Fc1Bias, "encoder.layers.{}.mlp.fc1.bias"},
          {Role::Fc2, "encoder.layers.{}.mlp.fc2.weight"},
          {Role::Fc2Bias, "encoder.layers.{}.mlp.fc2.bias"}};
}

void read_llava_projector(const Json& config, const std::string& where, int64_t image_token, ModelSpec& spec) {
  spec.projector.hidden_act =
      activation_of(get_string_or(config, "projector_hidden_act", where, "gelu"), where + ": projector_hidden_act");
  spec.projector.inner_size = spec.text.hidden_size;
  spec.projector.bias = get_bool_or(config, "multimodal_projector_bias", where, true);
  const bool older = has(config, "image_token_index");
  require(!older || !has(config, "image_token_id") || config["image_token_index"] == config["image_token_id"],
          "{}: image_token_index and image_token_id say different things; remove one of them", where);
  spec.image_token_id = read_image_token(config, older ? "image_token_index" : "image_token_id", where,
                                         spec.text.vocab_size, image_token);
}

}  // namespace yopo
