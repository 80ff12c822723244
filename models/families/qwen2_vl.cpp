// Qwen2-VL (Wang et al., arXiv 2409.12191): Qwen2 with M-RoPE, a ViT with rotary embedding and pictures of any size.
#include "models/families/common_keys.h"
#include "models/families/parts.h"

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

constexpr const char* kPrompt = "prompts name these tokens by their text";

KnownKeys text_keys() {
  return joined({decoder_keys(),
                 read_keys({"layer_types"}),
                 idle_keys("use_sliding_window is false", {"sliding_window", "max_window_layers"}),
                 {refused_key("use_sliding_window", "[false]", "sliding windows are not supported")}});
}

/// Older files have the decoder's sizes at the root.
const KeyReader& root_reader() {
  static const KeyReader reader = {
      "Qwen2-VL's config.json",
      joined({config_keys(), root_keys(), text_keys(),
              read_keys({"tie_word_embeddings", "text_config", "vision_config", "image_token_id", "yopo",
                         "quantization_config"}),
              idle_keys(kPrompt, {"vision_start_token_id", "vision_end_token_id", "vision_token_id"}),
              idle_keys("of videos", {"video_token_id"})})};
  return reader;
}

const KeyReader& text_reader() {
  static const KeyReader reader = {
      "Qwen2-VL's text_config",
      joined({config_keys(), text_keys(), read_keys({"tie_word_embeddings"}),
              idle_keys("the root of config.json says it", {"image_token_id", "video_token_id", "vision_start_token_id",
                                                            "vision_end_token_id", "vision_token_id"})})};
  return reader;
}

const KeyReader& vision_reader() {
  static const KeyReader reader = {
      "Qwen2-VL's vision_config",
      joined(
          {config_keys(),
           read_keys({"depth", "embed_dim", "hidden_size", "hidden_act", "mlp_ratio", "num_heads", "patch_size",
                      "spatial_merge_size", "temporal_patch_size", "rope_parameters"}),
           idle_keys("patch_size says it", {"spatial_patch_size"}),
           idle_keys("the tower makes no text", {"bos_token_id", "eos_token_id", "pad_token_id"}),
           {refused_key("in_channels", "[3]", "images are RGB"), refused_key("in_chans", "[3]", "images are RGB")}})};
  return reader;
}

/// The object with which transformers 5 says the tower's rotary embedding.
const KeyReader& vision_rope_reader() {
  static const KeyReader reader = {
      "the rotary embedding of Qwen2-VL's tower",
      {refused_key("rope_theta", "[10000]", "the tower turns by another base"),
       refused_key("rope_type", "[\"axial\", \"default\"]", "the tower turns by row and column"),
       refused_key("type", "[\"axial\", \"default\"]", "the tower turns by row and column")}};
  return reader;
}

const KeyReader& image_reader() {
  static const KeyReader reader = {
      "Qwen2-VL's image processor",
      joined({image_processor_keys(),
              read_keys({"min_pixels", "max_pixels", "patch_size", "merge_size", "temporal_patch_size"}),
              idle_keys("of videos", {"do_sample_frames", "fps", "min_frames", "max_frames", "num_frames"}),
              idle_keys("an image is one frame of any size",
                        {"do_pad", "do_center_crop", "crop_size", "default_to_square"})})};
  return reader;
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
  DecoderSpec text = read_decoder(config, where, defaults, RopeAxes::Three);
  text.attention_bias = true;  // of q, k and v in every Qwen2
  if (has(config, "layer_types"))
    for (const Json& type : get_array(config, "layer_types", where))
      require(type == "full_attention", "{}: layer_types: expected full_attention, found {}", where,
              printable(type.dump()));
  return text;
}

/// Defaults are those of transformers' Qwen2VLVisionConfig. `embed_dim` is the tower's width, `hidden_size` the
/// decoder's.
VisionSpec vision_spec(const Json& config, const std::string& where, int64_t hidden_size) {
  VisionSpec vision;
  check_keys(config, vision_reader(), where);
  if (has(config, "rope_parameters"))
    check_keys(get_object(config, "rope_parameters", where), vision_rope_reader(), where + ": rope_parameters");
  vision.hidden_size = get_int_or(config, "embed_dim", where, 1, kMaxSize, 1280);
  vision.num_hidden_layers = get_int_or(config, "depth", where, 1, 4096, 32);
  vision.taps = {{vision.num_hidden_layers}};
  vision.num_attention_heads = get_int_or(config, "num_heads", where, 1, 4096, 16);
  const double ratio = get_number_or(config, "mlp_ratio", where, 4.0);
  require(ratio > 0 && ratio <= 1024, "{}: mlp_ratio: expected a factor up to 1024, found {}", where, ratio);
  vision.intermediate_size = int64_t(double(vision.hidden_size) * ratio);
  vision.patch_size = get_int_or(config, "patch_size", where, 1, 1024, 14);
  vision.merge_size = get_int_or(config, "spatial_merge_size", where, 1, 64, 2);
  vision.temporal_patch_size = get_int_or(config, "temporal_patch_size", where, 1, 64, 2);
  vision.layer_norm_eps = 1e-6;
  vision.hidden_act = activation_of(get_string_or(config, "hidden_act", where, "quick_gelu"), where);
  vision.class_token = vision.position_table = vision.pre_norm = false;
  vision.rotary = true;
  const int64_t out = get_int_or(config, "hidden_size", where, 1, kMaxSize, 3584);
  require(out == hidden_size, "{}: hidden_size {} contradicts the language model's hidden_size {}", where, out,
          hidden_size);
  check_vision(vision, where);
  return vision;
}

/// A bound in the `size` object, by either name that transformers has written.
int64_t bound_of(const Json& size, const char* name, const char* older, const std::string& where, int64_t limit,
                 int64_t fallback) {
  return get_int_or(size, has(size, name) ? name : older, where + ": size", 1, limit, fallback);
}

/// transformers' Qwen2VLImageProcessor: its defaults (56 * 56 to 28 * 28 * 1280 pixels) where a key is absent, and the
/// values published with the models (up to 12845056) where the file is. The bounds are min_pixels and max_pixels, else
/// those of `size` (which the slow reference, unlike the fast one, overlooks).
ImageSpec read_images(const Json& config, const std::string& where, const VisionSpec& vision) {
  constexpr int64_t kMostPixels = int64_t(1) << 31;
  ImageSpec image;
  image.fit = ImageSpec::Fit::SmartResize;
  image.patch_size = 14;
  image.merge_size = 2;
  image.temporal_patch_size = 2;
  image.min_pixels = int64_t{56} * 56;
  image.max_pixels = 12'845'056;
  image.mean = kClipMean;
  image.std = kClipStd;
  if (config.is_null()) {
    image.patch_size = vision.patch_size;
    image.merge_size = vision.merge_size;
    image.temporal_patch_size = vision.temporal_patch_size;
    return image;
  }
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  check_keys(config, image_reader(), where);
  image.max_pixels = int64_t{28} * 28 * 1280;
  if (has(config, "size")) {
    const Json& size = get_object(config, "size", where);
    const bool bounds = (has(size, "shortest_edge") && has(size, "longest_edge")) ||
                        (has(size, "min_pixels") && has(size, "max_pixels"));
    require(bounds || (has(config, "min_pixels") && has(config, "max_pixels")),
            "{}: size: expected shortest_edge and longest_edge, found {}", where, printable(size.dump()));
    image.min_pixels = bound_of(size, "shortest_edge", "min_pixels", where, kMostPixels, image.min_pixels);
    image.max_pixels = bound_of(size, "longest_edge", "max_pixels", where, kMostPixels, image.max_pixels);
  }
  image.min_pixels = get_int_or(config, "min_pixels", where, 1, kMostPixels, image.min_pixels);
  image.max_pixels = get_int_or(config, "max_pixels", where, 1, kMostPixels, image.max_pixels);
  require(image.min_pixels <= image.max_pixels, "{}: min_pixels {} is above max_pixels {}", where, image.min_pixels,
          image.max_pixels);
  image.patch_size = get_int_or(config, "patch_size", where, 1, 1024, 14);
  image.merge_size = get_int_or(config, "merge_size", where, 1, 64, 2);
  image.temporal_patch_size = get_int_or(config, "temporal_patch_size", where, 1, 64, 2);
  const int64_t factor = image.patch_size * image.merge_size;
  require(factor <= kLargestSide / 2, "{}: patch_size {} times merge_size {}: expected at most {}", where,
          image.patch_size, image.merge_size, kLargestSide / 2);
  read_image_steps(config, where, image);
  return image;
}

ModelSpec read_config(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.layout = "qwen2-vl";
  check_keys(config, root_reader(), where);
  const bool nested = has(config, "text_config");
  if (nested) check_keys(get_object(config, "text_config", where), text_reader(), where + ": text_config");
  const std::string text_where = nested ? where + ": text_config" : where;
  spec.text = text_spec(nested ? get_object(config, "text_config", where) : config, text_where);
  spec.text.tie_word_embeddings = get_bool_or(config, "tie_word_embeddings", where, spec.text.tie_word_embeddings);
  spec.vision =
      vision_spec(get_object(config, "vision_config", where), where + ": vision_config", spec.text.hidden_size);
  spec.projector.norm = NormKind::Layer;
  spec.projector.norm_eps = 1e-6;
  spec.projector.inner_size = spec.vision.merge_size * spec.vision.merge_size * spec.vision.hidden_size;
  spec.image_token_id = read_image_token(config, "image_token_id", where, spec.text.vocab_size, 151655);
  return spec;
}

void locate(const Checkpoint& checkpoint, ModelSpec& spec) {
  if (checkpoint.contains("model.language_model.embed_tokens.weight")) spec.layout = "qwen2-vl-4.52";
  spec.dtype = checkpoint.at(layout_of(spec).decoder + "embed_tokens.weight").dtype;
  const ImageRules rules = find_image_rules({checkpoint.folder()}, "the rules published with Qwen2-VL");
  spec.image = read_images(rules.values, rules.where, spec.vision);
  spec.image.backend = rules.backend;
  require(spec.image.patch_size == spec.vision.patch_size && spec.image.merge_size == spec.vision.merge_size &&
              spec.image.temporal_patch_size == spec.vision.temporal_patch_size,
          "{}: patches of {} pixels, {} frames, merged {} by {}, contradict config.json's: {}, {}, {}", rules.where,
          spec.image.patch_size, spec.image.temporal_patch_size, spec.image.merge_size, spec.image.merge_size,
          spec.vision.patch_size, spec.vision.temporal_patch_size, spec.vision.merge_size);
  read_special_ids(checkpoint, spec);
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
      .templates = {{"qwen2-vl", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "<|im_start|>user\n",
                     "<|im_end|>\n<|im_start|>assistant\n", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "",
                     "<|im_end|>"},
                    {"chatml", "", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|image_pad|>",
                     "<|vision_start|>", "<|vision_end|>", "", "<|im_end|>"}},
      .read_config = read_config,
      .locate = locate,
      .read_images = read_images,
      .choose_template = choose_template,
      .readers = {&root_reader(), &text_reader(), &vision_reader(), &vision_rope_reader(), &image_reader()},
  };
  return family;
}

}  // namespace yopo
