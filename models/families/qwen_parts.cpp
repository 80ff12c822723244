#include "models/families/qwen_parts.h"

namespace yopo {

namespace {

constexpr const char* kPrompt = "prompts name these tokens by their text";

/// A bound in the `size` object, by either name that transformers has written.
int64_t bound_of(const Json& size, const char* name, const char* older, const std::string& where, int64_t limit,
                 int64_t fallback) {
  return get_int_or(size, has(size, name) ? name : older, where + ": size", 1, limit, fallback);
}

KnownKeys decoder_part() {
  return joined({decoder_keys(),
                 read_keys({"layer_types"}),
                 idle_keys("use_sliding_window is false", {"sliding_window", "max_window_layers"}),
                 {refused_key("use_sliding_window", "[false]", "sliding windows are not supported")}});
}

}  // namespace

KnownKeys qwen_root_keys(bool decoder) {
  return joined({config_keys(), root_keys(), decoder ? decoder_part() : KnownKeys(),
                 read_keys({"tie_word_embeddings", "text_config", "vision_config", "image_token_id", "video_token_id",
                            "yopo", "quantization_config"}),
                 idle_keys(kPrompt, {"vision_start_token_id", "vision_end_token_id", "vision_token_id"})});
}

KnownKeys qwen_text_keys() {
  return joined(
      {config_keys(), decoder_part(), read_keys({"tie_word_embeddings"}),
       idle_keys("the root of config.json says it", {"image_token_id", "video_token_id", "vision_start_token_id",
                                                     "vision_end_token_id", "vision_token_id"})});
}

KnownKeys qwen_vision_keys() {
  return joined(
      {config_keys(),
       read_keys({"depth", "hidden_size", "hidden_act", "num_heads", "patch_size", "spatial_merge_size",
                  "temporal_patch_size", "rope_parameters"}),
       idle_keys("patch_size says it", {"spatial_patch_size"}),
       idle_keys("the tower makes no text", {"bos_token_id", "eos_token_id", "pad_token_id"}),
       {refused_key("in_channels", "[3]", "images are RGB"), refused_key("in_chans", "[3]", "images are RGB")}});
}

KnownKeys qwen_image_keys() {
  return joined(
      {image_processor_keys(),
       read_keys({"min_pixels", "max_pixels", "patch_size", "merge_size", "temporal_patch_size"}),
       idle_keys("of videos", {"do_sample_frames", "fps", "min_frames", "max_frames", "num_frames"}),
       idle_keys("an image is one frame of any size", {"do_pad", "do_center_crop", "crop_size", "default_to_square"})});
}

const KeyReader& qwen_vision_rope_reader() {
  static const KeyReader reader = {
      "the rotary embedding of a Qwen tower",
      {refused_key("rope_theta", "[10000]", "the tower turns by another base"),
       refused_key("rope_type", "[\"axial\", \"default\"]", "the tower turns by row and column"),
       refused_key("type", "[\"axial\", \"default\"]", "the tower turns by row and column")}};
  return reader;
}

DecoderSpec read_qwen_text(const Json& config, const std::string& where, const DecoderSpec& defaults) {
  DecoderSpec text = read_decoder(config, where, defaults, RopeAxes::Three);
  require(text.rope.interleaved == defaults.rope.interleaved, "{}: mrope_interleaved: expected {}, found {}", where,
          defaults.rope.interleaved, text.rope.interleaved);
  if (has(config, "layer_types"))
    for (const Json& type : get_array(config, "layer_types", where))
      require(type == "full_attention", "{}: layer_types: expected full_attention, found {}", where,
              printable(type.dump()));
  return text;
}

VisionSpec read_qwen_vision(const Json& config, const std::string& where, const VisionSpec& defaults) {
  VisionSpec vision = defaults;
  if (has(config, "rope_parameters"))
    check_keys(get_object(config, "rope_parameters", where), qwen_vision_rope_reader(), where + ": rope_parameters");
  vision.num_hidden_layers = get_int_or(config, "depth", where, 1, 4096, defaults.num_hidden_layers);
  vision.taps = {{vision.num_hidden_layers}};
  vision.num_attention_heads = get_int_or(config, "num_heads", where, 1, 4096, defaults.num_attention_heads);
  vision.patch_size = get_int_or(config, "patch_size", where, 1, 1024, defaults.patch_size);
  vision.merge_size = get_int_or(config, "spatial_merge_size", where, 1, 64, 2);
  vision.temporal_patch_size = get_int_or(config, "temporal_patch_size", where, 1, 64, 2);
  vision.layer_norm_eps = 1e-6;
  if (has(config, "hidden_act")) vision.hidden_act = activation_of(get_string(config, "hidden_act", where), where);
  vision.class_token = vision.position_table = vision.pre_norm = false;
  vision.rotary = true;
  return vision;
}

void check_tower_output(const Json& config, const char* key, const std::string& where, int64_t hidden_size,
                        int64_t default_size) {
  const int64_t out = get_int_or(config, key, where, 1, kMaxSize, default_size);
  require(out == hidden_size, "{}: {} {} contradicts the language model's hidden_size {}", where, key, out,
          hidden_size);
}

void read_qwen_root(const Json& config, const std::string& where, const KeyReader& root, const KeyReader& text,
                    const DecoderSpec& defaults, ModelSpec& spec) {
  check_keys(config, root, where);
  const bool nested = has(config, "text_config");
  if (nested) check_keys(get_object(config, "text_config", where), text, where + ": text_config");
  spec.text = read_qwen_text(nested ? get_object(config, "text_config", where) : config,
                             nested ? where + ": text_config" : where, defaults);
  spec.text.tie_word_embeddings = get_bool_or(config, "tie_word_embeddings", where, spec.text.tie_word_embeddings);
  spec.image_token_id = read_image_token(config, "image_token_id", where, spec.text.vocab_size, 151655);
  spec.video_token_id = get_int_or(config, "video_token_id", where, 0, kMaxSize, 151656);
}

ProjectorSpec qwen_projector(const VisionSpec& vision, NormKind norm) {
  ProjectorSpec projector;
  projector.norm = norm;
  projector.norm_eps = 1e-6;
  projector.inner_size = vision.merge_size * vision.merge_size * vision.hidden_size;
  return projector;
}

ImageSpec read_qwen_images(const Json& config, const std::string& where, const VisionSpec& vision,
                           const KeyReader& reader, const QwenImages& published) {
  constexpr int64_t kMostPixels = int64_t(1) << 31;
  ImageSpec image;
  image.fit = ImageSpec::Fit::SmartResize;
  if (config.is_null()) {
    image.patch_size = vision.patch_size;
    image.merge_size = vision.merge_size;
    image.temporal_patch_size = vision.temporal_patch_size;
    image.min_pixels = published.min_pixels;
    image.max_pixels = published.max_pixels;
    image.mean = published.mean;
    image.std = published.std;
    return image;
  }
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  check_keys(config, reader, where);
  image.mean = kClipMean;
  image.std = kClipStd;
  image.min_pixels = int64_t{56} * 56;
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

void locate_qwen(const Checkpoint& checkpoint, const std::string& published, ModelSpec& spec) {
  spec.dtype = checkpoint.at(layout_of(spec).decoder + "embed_tokens.weight").dtype;
  // transformers ties by the root's key; a head that text_config alone would tie is used where there is one.
  if (!get_bool_or(checkpoint.config(), "tie_word_embeddings", "config.json", false))
    untie_stored_head(checkpoint, spec);
  const ImageRules rules = find_image_rules({checkpoint.folder()}, published);
  spec.image = family_of(spec).read_images(rules.values, rules.where, spec.vision);
  spec.image.backend = rules.backend;
  require(spec.image.patch_size == spec.vision.patch_size && spec.image.merge_size == spec.vision.merge_size &&
              spec.image.temporal_patch_size == spec.vision.temporal_patch_size,
          "{}: patches of {} pixels, {} frames, merged {} by {}, contradict config.json's: {}, {}, {}", rules.where,
          spec.image.patch_size, spec.image.temporal_patch_size, spec.image.merge_size, spec.image.merge_size,
          spec.vision.patch_size, spec.vision.temporal_patch_size, spec.vision.merge_size);
  read_special_ids(checkpoint, spec);
}

std::vector<PromptTemplate> qwen_templates() {
  return {
      {"qwen2-vl", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "<|im_start|>user\n",
       "<|im_end|>\n<|im_start|>assistant\n", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "", "<|im_end|>"},
      {"chatml", "", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|image_pad|>", "<|vision_start|>",
       "<|vision_end|>", "", "<|im_end|>"}};
}

}  // namespace yopo
