#include "models/families/qwen2_vl.h"

#include <cmath>
#include <numeric>

#include "images/spec.h"
#include "models/families/parts.h"

namespace yopo {

namespace {

const std::vector<TensorName>& layout_names() {
  static const std::vector<TensorName> names = [] {
    std::vector<TensorName> all = llama_names();
    const std::vector<TensorName> vision = {{Role::PatchEmbed, "patch_embed.proj.weight"},
                                            {Role::Norm1, "blocks.{}.norm1.weight"},
                                            {Role::Norm1Bias, "blocks.{}.norm1.bias"},
                                            {Role::VisionQ, "blocks.{}.attn.qkv.weight", Fused::Blocks},
                                            {Role::VisionK, "blocks.{}.attn.qkv.weight", Fused::Blocks},
                                            {Role::VisionV, "blocks.{}.attn.qkv.weight", Fused::Blocks},
                                            {Role::VisionQBias, "blocks.{}.attn.qkv.bias", Fused::Blocks},
                                            {Role::VisionKBias, "blocks.{}.attn.qkv.bias", Fused::Blocks},
                                            {Role::VisionVBias, "blocks.{}.attn.qkv.bias", Fused::Blocks},
                                            {Role::VisionO, "blocks.{}.attn.proj.weight"},
                                            {Role::VisionOBias, "blocks.{}.attn.proj.bias"},
                                            {Role::Norm2, "blocks.{}.norm2.weight"},
                                            {Role::Norm2Bias, "blocks.{}.norm2.bias"},
                                            {Role::Fc1, "blocks.{}.mlp.fc1.weight"},
                                            {Role::Fc1Bias, "blocks.{}.mlp.fc1.bias"},
                                            {Role::Fc2, "blocks.{}.mlp.fc2.weight"},
                                            {Role::Fc2Bias, "blocks.{}.mlp.fc2.bias"},
                                            {Role::ProjectNorm, "ln_q.weight"},
                                            {Role::ProjectNormBias, "ln_q.bias"},
                                            {Role::Project1, "mlp.0.weight"},
                                            {Role::Project1Bias, "mlp.0.bias"},
                                            {Role::Project2, "mlp.2.weight"},
                                            {Role::Project2Bias, "mlp.2.bias"}};
    all.insert(all.end(), vision.begin(), vision.end());
    return all;
  }();
  return names;
}

DecoderSpec text_spec(const Json& config, const std::string& where) {
  DecoderSpec defaults;  // transformers' Qwen2VLTextConfig
  defaults.num_hidden_layers = 80;
  defaults.hidden_size = 8192;
  defaults.num_attention_heads = 64;
  defaults.intermediate_size = 29568;
  defaults.vocab_size = 152064;
  defaults.max_position_embeddings = 32768;
  defaults.rope.theta = 1e6;
  DecoderSpec text = read_decoder(config, where, defaults);
  text.attention_bias = true;  // of q, k and v in every Qwen2
  require(!get_bool_or(config, "use_sliding_window", where, false), "{}: use_sliding_window is not supported", where);

  const char* key = has(config, "rope_parameters") ? "rope_parameters" : "rope_scaling";
  const Json& scaling = get_object(config, key, where);
  const std::string scaling_where = where + ": " + key;
  text.rope.theta = get_number_or(scaling, "rope_theta", scaling_where, text.rope.theta);
  const std::string type =
      get_string_or(scaling, has(scaling, "rope_type") ? "rope_type" : "type", scaling_where, "mrope");
  require(type == "mrope" || type == "default", "{}: type: expected mrope, found {}", scaling_where, type);
  const Json& sections = get_array(scaling, "mrope_section", scaling_where);
  require(sections.size() == 3, "{}: mrope_section: expected 3 numbers (time, row, column), found {}", scaling_where,
          sections.size());
  for (const Json& section : sections) {
    require(section.is_number_integer() && section.get<int64_t>() >= 0 && section.get<int64_t>() <= kMaxSize,
            "{}: mrope_section: expected counts, found {}", scaling_where, section.dump());
    text.rope.sections.push_back(section.get<int64_t>());
  }
  const int64_t sum = std::accumulate(text.rope.sections.begin(), text.rope.sections.end(), int64_t(0));
  require(sum == text.head_dim / 2, "{}: mrope_section: the sections sum to {}, half of head_dim is {}", scaling_where,
          sum, text.head_dim / 2);
  return text;
}

/// Defaults are those of transformers' Qwen2VLVisionConfig. `embed_dim` is the tower's width, `hidden_size` the
/// decoder's.
VisionSpec vision_spec(const Json& config, const std::string& where, int64_t hidden_size) {
  VisionSpec vision;
  vision.hidden_size = get_int_or(config, "embed_dim", where, 1, kMaxSize, 1280);
  vision.num_hidden_layers = get_int_or(config, "depth", where, 1, 4096, 32);
  vision.layers_run = vision.num_hidden_layers;
  vision.num_attention_heads = get_int_or(config, "num_heads", where, 1, 4096, 16);
  const double ratio = get_number_or(config, "mlp_ratio", where, 4.0);
  require(ratio > 0 && ratio <= 1024, "{}: mlp_ratio: expected a factor up to 1024, found {}", where, ratio);
  vision.intermediate_size = int64_t(double(vision.hidden_size) * ratio);
  vision.patch_size = get_int_or(config, "patch_size", where, 1, 1024, 14);
  vision.merge_size = get_int_or(config, "spatial_merge_size", where, 1, 64, 2);
  vision.temporal_patch_size = get_int_or(config, "temporal_patch_size", where, 1, 64, 2);
  vision.layer_norm_eps = 1e-6;
  vision.hidden_act = activation_of(get_string_or(config, "hidden_act", where, "quick_gelu"), where);
  vision.learned_positions = false;
  vision.pre_norm = false;
  for (const char* key : {"in_channels", "in_chans"}) {
    const int64_t channels = get_int_or(config, key, where, 1, kMaxSize, 3);
    require(channels == 3, "{}: {}: expected 3, found {}", where, key, channels);
  }
  const int64_t out = get_int_or(config, "hidden_size", where, 1, kMaxSize, 3584);
  require(out == hidden_size, "{}: hidden_size {} contradicts the language model's hidden_size {}", where, out,
          hidden_size);
  check_vision(vision, where);
  return vision;
}

}  // namespace

ModelSpec qwen2_vl_spec(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.family = "qwen2_vl";
  spec.layout = "qwen2-vl";
  spec.names = &layout_names();
  spec.decoder_prefix = "model.";
  spec.vision_prefix = "visual.";
  spec.projector_prefix = "visual.merger.";
  const bool nested = has(config, "text_config");
  const std::string text_where = nested ? where + ": text_config" : where;
  spec.text = text_spec(nested ? get_object(config, "text_config", where) : config, text_where);
  spec.text.tie_word_embeddings = get_bool_or(config, "tie_word_embeddings", where, spec.text.tie_word_embeddings);
  spec.vision =
      vision_spec(get_object(config, "vision_config", where), where + ": vision_config", spec.text.hidden_size);
  spec.projector.norm_patches = true;
  spec.projector.norm_eps = 1e-6;
  spec.projector.inner_size = spec.vision.merge_size * spec.vision.merge_size * spec.vision.hidden_size;
  spec.image_token_id = read_image_token(config, "image_token_id", where, spec.text.vocab_size, 151655);
  return spec;
}

void locate_qwen2_vl_tensors(const Checkpoint& checkpoint, ModelSpec& spec) {
  if (checkpoint.contains("model.language_model.embed_tokens.weight")) {  // keys of transformers 4.52 and later
    spec.layout = "qwen2-vl-4.52";
    spec.decoder_prefix = "model.language_model.";
    spec.vision_prefix = "model.visual.";
    spec.projector_prefix = "model.visual.merger.";
  }
  spec.dtype = checkpoint.at(spec.decoder_prefix + "embed_tokens.weight").dtype;
  const fs::path preprocessor = checkpoint.folder() / "preprocessor_config.json";
  spec.image = qwen2_vl_image_spec(preprocessor);
  if (!fs::exists(preprocessor)) {
    spec.image.patch_size = spec.vision.patch_size;
    spec.image.merge_size = spec.vision.merge_size;
    spec.image.temporal_patch_size = spec.vision.temporal_patch_size;
  }
  require(spec.image.patch_size == spec.vision.patch_size && spec.image.merge_size == spec.vision.merge_size &&
              spec.image.temporal_patch_size == spec.vision.temporal_patch_size,
          "{}: patches of {} pixels, {} frames, merged {} by {}, contradict config.json's: {}, {}, {}",
          preprocessor.string(), spec.image.patch_size, spec.image.temporal_patch_size, spec.image.merge_size,
          spec.image.merge_size, spec.vision.patch_size, spec.vision.temporal_patch_size, spec.vision.merge_size);
  read_special_ids(checkpoint, "text_config", spec);
}

}  // namespace yopo
