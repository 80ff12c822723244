// InternVL3 and 3.5 (Zhu et al., arXiv 2504.10479; arXiv 2508.18265) as transformers has them: InternViT and pixel
// shuffle in front of Qwen2 or Qwen3. Their original layout is InternVL2's with another language model: internvl2.cpp.
#include "core/remarks.h"
#include "images/image.h"
#include "models/chat_template.h"
#include "models/families/common_keys.h"
#include "models/families/parts.h"
#include "models/families/qwen_text.h"

namespace yopo {

const Family& internvl3_family();

namespace {

constexpr const char* kTraining = "for training";

std::vector<TensorName> tensor_names() {
  std::vector<TensorName> names = llama_names();
  const std::vector<TensorName> vision = {{Role::ClassEmbed, "embeddings.cls_token", Fused::No, 2},
                                          {Role::PatchEmbed, "embeddings.patch_embeddings.projection.weight"},
                                          {Role::PatchBias, "embeddings.patch_embeddings.projection.bias"},
                                          {Role::PositionEmbed, "embeddings.position_embeddings", Fused::No, 1},
                                          {Role::Norm1, "encoder.layer.{}.layernorm_before.weight"},
                                          {Role::Norm1Bias, "encoder.layer.{}.layernorm_before.bias"},
                                          {Role::VisionQ, "encoder.layer.{}.attention.q_proj.weight"},
                                          {Role::VisionK, "encoder.layer.{}.attention.k_proj.weight"},
                                          {Role::VisionV, "encoder.layer.{}.attention.v_proj.weight"},
                                          {Role::VisionQBias, "encoder.layer.{}.attention.q_proj.bias"},
                                          {Role::VisionKBias, "encoder.layer.{}.attention.k_proj.bias"},
                                          {Role::VisionVBias, "encoder.layer.{}.attention.v_proj.bias"},
                                          {Role::QNorm, "encoder.layer.{}.attention.q_norm.weight"},
                                          {Role::KNorm, "encoder.layer.{}.attention.k_norm.weight"},
                                          {Role::VisionO, "encoder.layer.{}.attention.projection_layer.weight"},
                                          {Role::VisionOBias, "encoder.layer.{}.attention.projection_layer.bias"},
                                          {Role::Scale1, "encoder.layer.{}.lambda_1"},
                                          {Role::Norm2, "encoder.layer.{}.layernorm_after.weight"},
                                          {Role::Norm2Bias, "encoder.layer.{}.layernorm_after.bias"},
                                          {Role::Fc1, "encoder.layer.{}.mlp.fc1.weight"},
                                          {Role::Fc1Bias, "encoder.layer.{}.mlp.fc1.bias"},
                                          {Role::Fc2, "encoder.layer.{}.mlp.fc2.weight"},
                                          {Role::Fc2Bias, "encoder.layer.{}.mlp.fc2.bias"},
                                          {Role::Scale2, "encoder.layer.{}.lambda_2"},
                                          {Role::ProjectNorm, "layer_norm.weight"},
                                          {Role::ProjectNormBias, "layer_norm.bias"},
                                          {Role::Project1, "linear_1.weight"},
                                          {Role::Project1Bias, "linear_1.bias"},
                                          {Role::Project2, "linear_2.weight"},
                                          {Role::Project2Bias, "linear_2.bias"}};
  names.insert(names.end(), vision.begin(), vision.end());
  return names;
}

const KeyReader& root_reader() {
  static const KeyReader reader = {
      "InternVL3's config.json in transformers' layout",
      joined({config_keys(), root_keys(),
              read_keys({"tie_word_embeddings", "text_config", "vision_config", "image_token_id", "image_seq_length",
                         "downsample_ratio", "projector_hidden_act", "vision_feature_layer",
                         "vision_feature_select_strategy", "bos_token_id", "eos_token_id", "pad_token_id", "yopo",
                         "quantization_config"}),
              idle_keys("text_config says it", {"hidden_size", "vocab_size"}),
              idle_keys("of videos", {"video_token_id"})})};
  return reader;
}

const KeyReader& qwen2_reader() {
  static const KeyReader reader = {"Qwen2's text_config", joined({qwen2_keys(), read_keys({"model_type"})})};
  return reader;
}

const KeyReader& qwen3_reader() {
  static const KeyReader reader = {"Qwen3's text_config", joined({qwen3_keys(), read_keys({"model_type"})})};
  return reader;
}

const KeyReader& vision_reader() {
  static const KeyReader reader = {
      "the vision_config of InternVL3 in transformers' layout",
      joined({config_keys(),
              read_keys({"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size",
                         "patch_size", "layer_norm_eps", "hidden_act", "norm_type", "attention_bias", "use_qk_norm"}),
              idle_keys(kTraining, {"hidden_dropout_prob", "projection_dropout", "layer_scale_init_value"}),
              idle_keys("of patches that training hides", {"use_mask_token"}),
              idle_keys("the tower makes no text", {"bos_token_id", "eos_token_id", "pad_token_id"}),
              {refused_key("num_channels", "[3]", "images are RGB"),
               refused_key("use_mean_pooling", "[true]", "a norm behind the tower is not supported"),
               refused_key("use_absolute_position_embeddings", "[true]", "a tower without them is not supported")}})};
  return reader;
}

const KeyReader& image_reader() {
  static const KeyReader reader = {
      "InternVL3's image processor in transformers' layout",
      joined({image_processor_keys(), read_keys({"min_patches", "max_patches"}),
              idle_keys("InternVL3's processor always cuts images into tiles", {"crop_to_patches"}),
              idle_keys("tiles are square and fill the tower",
                        {"do_center_crop", "crop_size", "default_to_square", "do_pad"})})};
  return reader;
}

/// The side of a square, written as one number or as two.
Json side_of(const Json& config, const char* key, const std::string& where, int64_t fallback) {
  if (!has(config, key)) return fallback;
  const Json& value = config[key];
  if (!value.is_array()) return value;
  require(value.size() == 2 && value[0] == value[1], "{}: {}: expected a square, found {}", where, key,
          printable(value.dump()));
  return value[0];
}

/// Defaults are those of transformers' InternVLVisionConfig.
VisionSpec vision_spec(const Json& given, const std::string& where, int64_t feature_layer) {
  check_keys(given, vision_reader(), where);
  Json config = given;
  config["image_size"] = side_of(given, "image_size", where, 448);
  config["patch_size"] = side_of(given, "patch_size", where, 14);
  VisionSpec defaults;
  defaults.hidden_size = 1024;
  defaults.intermediate_size = 4096;
  defaults.num_hidden_layers = 24;
  defaults.num_attention_heads = 16;
  defaults.layer_norm_eps = 1e-6;
  defaults.hidden_act = Activation::Gelu;
  VisionSpec vision = read_square_vision(config, where, defaults);
  const std::string norm = get_string_or(config, "norm_type", where, "layer_norm");
  require(norm == "rms_norm" || norm == "layer_norm", "{}: norm_type: expected rms_norm or layer_norm, found {}{}",
          where, norm, did_you_mean(norm, {"rms_norm", "layer_norm"}));
  vision.norm = norm == "rms_norm" ? NormKind::Rms : NormKind::Layer;
  vision.pre_norm = false;
  vision.patch_bias = true;
  vision.qkv_bias = get_bool_or(config, "attention_bias", where, false);
  vision.qk_norm = get_bool_or(config, "use_qk_norm", where, false);
  require(!vision.qk_norm || vision.layer_norm_eps == 1e-6,
          "{}: layer_norm_eps: expected 1e-6 beside use_qk_norm, whose norms have no other, found {}", where,
          vision.layer_norm_eps);
  vision.layer_scale = true;
  vision.taps = {{blocks_until(feature_layer, vision.num_hidden_layers, "vision_feature_layer", where)}};
  return vision;
}

DecoderSpec text_spec(const Json& config, const std::string& where) {
  const std::string type = get_string_or(config, "model_type", where, "qwen2");
  require(type == "qwen2" || type == "qwen3",
          "{}: model_type: '{}' is not supported; expected qwen2 or qwen3, the dense ones{}", where, printable(type),
          did_you_mean(type, {"qwen2", "qwen3"}));
  check_keys(config, type == "qwen2" ? qwen2_reader() : qwen3_reader(), where);
  return type == "qwen2" ? qwen2_text(config, where) : qwen3_text(config, where);
}

/// transformers' GotOcr2ImageProcessor as InternVLProcessor calls it; its defaults where a key is absent, and the
/// values published with the models where the file is.
ImageSpec read_images(const Json& config, const std::string& where, const VisionSpec& vision) {
  ImageSpec image;
  image.fit = ImageSpec::Fit::Tiles;
  image.tile_size = vision.image_size;
  image.patch_size = vision.patch_size;
  image.min_tiles = 1;
  image.max_tiles = 12;
  image.thumbnail = true;
  image.mean = {0.485f, 0.456f, 0.406f};
  image.std = {0.229f, 0.224f, 0.225f};
  if (config.is_null()) return image;
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  check_keys(config, image_reader(), where);
  image.mean = kClipMean;
  image.std = kClipStd;
  image.min_tiles = get_int_or(config, "min_patches", where, 1, 4096, 1);
  image.max_tiles = get_int_or(config, "max_patches", where, 1, 4096, 12);
  require(image.min_tiles <= image.max_tiles, "{}: min_patches {} is above max_patches {}", where, image.min_tiles,
          image.max_tiles);
  int64_t height = 384, width = 384;
  if (has(config, "size")) {
    const Json& size = get_object(config, "size", where);
    height = get_int(size, "height", where + ": size", 1, kLargestSide);
    width = get_int(size, "width", where + ": size", 1, kLargestSide);
  }
  require(height == vision.image_size && width == vision.image_size,
          "{}: size {} x {} contradicts the vision tower's image_size {}", where, height, width, vision.image_size);
  read_image_steps(config, where, image);
  require(image.max_tiles <= kLargestImage / image.tile_size / image.tile_size,
          "{}: max_patches: expected tiles of at most {} pixels in all, found {} of {} x {}", where, kLargestImage,
          image.max_tiles, image.tile_size, image.tile_size);
  return image;
}

ModelSpec read_config(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.layout = "internvl-hf";
  check_keys(config, root_reader(), where);
  spec.text = text_spec(get_object(config, "text_config", where), where + ": text_config");
  spec.text.tie_word_embeddings = get_bool_or(config, "tie_word_embeddings", where, true);
  const std::string strategy = get_string_or(config, "vision_feature_select_strategy", where, "default");
  require(strategy == "default", "{}: vision_feature_select_strategy: expected default, found {}{}", where, strategy,
          did_you_mean(strategy, {"default"}));
  const std::string vision_where = where + ": vision_config";
  spec.vision = vision_spec(get_object(config, "vision_config", where), vision_where,
                            get_int_or(config, "vision_feature_layer", where, -4096, 4096, -1));
  const double ratio = get_number_or(config, "downsample_ratio", where, 0.5);
  require(ratio == 0.5 || ratio == 1.0, "{}: downsample_ratio: expected 0.5 or 1, found {}", where, ratio);
  spec.vision.merge_size = ratio == 0.5 ? 2 : 1;
  check_vision(spec.vision, vision_where);
  spec.projector.hidden_act =
      activation_of(get_string_or(config, "projector_hidden_act", where, "gelu"), where + ": projector_hidden_act");
  spec.projector.norm = NormKind::Layer;
  spec.projector.norm_merged = true;
  spec.projector.inner_size = spec.text.hidden_size;
  spec.image_token_id = read_image_token(config, "image_token_id", where, spec.text.vocab_size, 151667);
  const int64_t declared = get_int_or(config, "image_seq_length", where, 1, kMaxSize, spec.image_tokens());
  if (declared != spec.image_tokens())
    remark(fmt::format("{}: image_seq_length {} contradicts the tower's {} visual tokens a tile, which are taken",
                       where, declared, spec.image_tokens()));
  return spec;
}

void locate(const Checkpoint& checkpoint, ModelSpec& spec) {
  if (checkpoint.contains("model.language_model.embed_tokens.weight")) spec.layout = "internvl-hf-model";
  untie_stored_head(checkpoint, spec);
  spec.dtype = checkpoint.at(layout_of(spec).decoder + "embed_tokens.weight").dtype;
  const ImageRules rules = find_image_rules({checkpoint.folder()}, "the rules published with InternVL3");
  spec.image = read_images(rules.values, rules.where, spec.vision);
  spec.image.backend = rules.backend;
  read_special_ids(checkpoint, spec);
}

PromptTemplate choose_template(const fs::path& folder, const ModelSpec&) {
  PromptTemplate form = own_template(internvl3_family().templates, folder, "internvl3-hf");
  if (form.own) form.own = std::make_shared<const ChatWriter>(form.own->framed(form.image_start, form.image_end));
  return form;
}

}  // namespace

const Family& internvl3_family() {
  static const std::vector<TensorName> names = tensor_names();
  static const Family family = {
      .name = "internvl3",
      .architectures = {"InternVLForConditionalGeneration"},
      .model_types = {"internvl"},
      .text_key = "text_config",
      .vision_key = "vision_config",
      .layouts = {{"internvl-hf", names, "language_model.model.", "language_model.", "vision_tower.",
                   "multi_modal_projector."},
                  {"internvl-hf-model", names, "model.language_model.", "", "model.vision_tower.",
                   "model.multi_modal_projector."}},
      .templates = {{"internvl3-hf", "", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<IMG_CONTEXT>",
                     "<img>", "</img>", "\n", "<|im_end|>"}},
      .read_config = read_config,
      .locate = locate,
      .read_images = read_images,
      .choose_template = choose_template,
      .readers = {&root_reader(), &qwen2_reader(), &qwen3_reader(), &vision_reader(), &image_reader()},
  };
  return family;
}

}  // namespace yopo
