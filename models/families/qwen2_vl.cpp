// Qwen2-VL (Wang et al., arXiv 2409.12191): Qwen2 with M-RoPE, a ViT with rotary embedding and pictures of any size.
#include "models/families/qwen_parts.h"

namespace yopo {

const Family& qwen2_vl_family();

namespace {

std::vector<TensorName> tensor_names() {
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
}

const KeyReader& root_reader() {
  static const KeyReader reader = {"Qwen2-VL's config.json", qwen_root_keys(true)};
  return reader;
}

const KeyReader& text_reader() {
  static const KeyReader reader = {"Qwen2-VL's text_config", qwen_text_keys()};
  return reader;
}

const KeyReader& vision_reader() {
  static const KeyReader reader = {"Qwen2-VL's vision_config",
                                   joined({qwen_vision_keys(), read_keys({"embed_dim", "mlp_ratio"})})};
  return reader;
}

const KeyReader& image_reader() {
  static const KeyReader reader = {"Qwen2-VL's image processor", qwen_image_keys()};
  return reader;
}

DecoderSpec text_defaults() {
  DecoderSpec defaults;  // transformers' Qwen2VLTextConfig
  defaults.num_hidden_layers = 80;
  defaults.hidden_size = 8192;
  defaults.num_attention_heads = 64;
  defaults.intermediate_size = 29568;
  defaults.vocab_size = 152064;
  defaults.max_position_embeddings = 32768;
  defaults.rope.theta = 1e6;
  return defaults;
}

/// Defaults are those of transformers' Qwen2VLVisionConfig. `embed_dim` is the tower's width, `hidden_size` the
/// decoder's.
VisionSpec vision_spec(const Json& config, const std::string& where, int64_t hidden_size) {
  check_keys(config, vision_reader(), where);
  VisionSpec defaults;
  defaults.num_hidden_layers = 32;
  defaults.num_attention_heads = 16;
  defaults.patch_size = 14;
  defaults.hidden_act = Activation::QuickGelu;
  VisionSpec vision = read_qwen_vision(config, where, defaults);
  vision.hidden_size = get_int_or(config, "embed_dim", where, 1, kMaxSize, 1280);
  const double ratio = get_number_or(config, "mlp_ratio", where, 4.0);
  require(ratio > 0 && ratio <= 1024, "{}: mlp_ratio: expected a factor up to 1024, found {}", where, ratio);
  vision.intermediate_size = int64_t(double(vision.hidden_size) * ratio);
  check_tower_output(config, "hidden_size", where, hidden_size, 3584);
  check_vision(vision, where);
  return vision;
}

ImageSpec read_images(const Json& config, const std::string& where, const VisionSpec& vision) {
  return read_qwen_images(config, where, vision, image_reader(), {56 * 56, 12'845'056, kClipMean, kClipStd});
}

ModelSpec read_config(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.layout = "qwen2-vl";
  read_qwen_root(config, where, root_reader(), text_reader(), text_defaults(), spec);
  spec.text.attention_bias = true;  // of q, k and v in every Qwen2
  spec.vision =
      vision_spec(get_object(config, "vision_config", where), where + ": vision_config", spec.text.hidden_size);
  spec.projector = qwen_projector(spec.vision, NormKind::Layer);
  return spec;
}

void locate(const Checkpoint& checkpoint, ModelSpec& spec) {
  if (checkpoint.contains("model.language_model.embed_tokens.weight")) spec.layout = "qwen2-vl-4.52";
  locate_qwen(checkpoint, "the rules published with Qwen2-VL", spec);
}

PromptTemplate choose_template(const fs::path& folder, const ModelSpec&) {
  return own_template(qwen2_vl_family().templates, folder, "qwen2-vl");
}

}  // namespace

const Family& qwen2_vl_family() {
  static const std::vector<TensorName> names = tensor_names();
  static const Family family = {
      .name = "qwen2_vl",
      .architectures = {"Qwen2VLForConditionalGeneration"},
      .model_types = {"qwen2_vl"},
      .text_key = "text_config",
      .vision_key = "vision_config",
      .layouts = {{"qwen2-vl", names, "model.", "", "visual.", "visual.merger."},
                  // transformers 4.52 and later
                  {"qwen2-vl-4.52", names, "model.language_model.", "", "model.visual.", "model.visual.merger."}},
      .templates = qwen_templates(),
      .read_config = read_config,
      .locate = locate,
      .read_images = read_images,
      .choose_template = choose_template,
      .readers = {&root_reader(), &text_reader(), &vision_reader(), &qwen_vision_rope_reader(), &image_reader()},
  };
  return family;
}

}  // namespace yopo
