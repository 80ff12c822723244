// LLaVA-NeXT (LLaVA 1.6) and LLaVA-OneVision (Li et al., arXiv 2408.03326) in transformers' layouts: an image is a base
// tile and the tiles of a canvas (models/anyres.h).
#include <algorithm>

#include "core/remarks.h"
#include "images/image.h"
#include "models/families/common_keys.h"
#include "models/families/llava_parts.h"
#include "models/families/parts.h"
#include "models/families/qwen_text.h"

namespace yopo {

const Family& llava_next_family();
const Family& llava_onevision_family();

namespace {

using Canvases = std::vector<std::array<int64_t, 2>>;

std::vector<TensorName> tensor_names() {
  std::vector<TensorName> names = llama_names();
  for (const std::vector<TensorName>& more :
       {clip_names(), std::vector<TensorName>{{Role::Project1, "linear_1.weight"},
                                              {Role::Project1Bias, "linear_1.bias"},
                                              {Role::Project2, "linear_2.weight"},
                                              {Role::Project2Bias, "linear_2.bias"},
                                              {Role::Newline, "image_newline"}}})
    names.insert(names.end(), more.begin(), more.end());
  return names;
}

KnownKeys shared_root_keys() {
  return joined({config_keys(),
                 root_keys(),
                 read_keys({"tie_word_embeddings", "text_config", "vision_config", "image_token_index",
                            "image_token_id", "image_grid_pinpoints", "projector_hidden_act", "vision_feature_layer",
                            "vision_feature_select_strategy", "multimodal_projector_bias", "bos_token_id",
                            "eos_token_id", "pad_token_id", "yopo", "quantization_config"}),
                 idle_keys("for training", {"ignore_index"}),
                 idle_keys("text_config says it", {"vocab_size", "hidden_size"}),
                 {refused_key("use_image_newline_parameter", "[true]", "images without newlines are not supported")}});
}

const KeyReader& next_reader() {
  static const KeyReader reader = {"LLaVA-NeXT's config.json",
                                   joined({shared_root_keys(), read_keys({"image_seq_length"})})};
  return reader;
}

const KeyReader& onevision_reader() {
  static const KeyReader reader = {"LLaVA-OneVision's config.json",
                                   joined({shared_root_keys(), read_keys({"vision_aspect_ratio"}),
                                           idle_keys("of videos", {"video_token_index", "video_token_id"})})};
  return reader;
}

const KeyReader& text_reader() {
  static const KeyReader reader = {"LLaVA-NeXT's text_config with LLaMA or Mistral",
                                   joined({config_keys(), llama_keys(), read_keys({"model_type", "sliding_window"})})};
  return reader;
}

const KeyReader& qwen2_reader() {
  static const KeyReader reader = {"Qwen2's text_config in LLaVA-NeXT and LLaVA-OneVision",
                                   joined({qwen2_keys(), read_keys({"model_type", "tie_word_embeddings"})})};
  return reader;
}

const KeyReader& siglip_reader() {
  static const KeyReader reader = {
      "SigLIP's vision_config",
      joined({config_keys(),
              read_keys({"model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                         "image_size", "patch_size", "layer_norm_eps", "hidden_act"}),
              idle_keys("of a head that the features do not pass", {"vision_use_head"}),
              idle_keys("the tower makes no text", {"bos_token_id", "eos_token_id", "pad_token_id"}),
              {refused_key("num_channels", "[3]", "images are RGB")}})};
  return reader;
}

const KeyReader& image_reader() {
  static const KeyReader reader = {
      "LLaVA-NeXT's and LLaVA-OneVision's image processor",
      joined({image_processor_keys(), read_keys({"image_grid_pinpoints", "crop_size"}),
              idle_keys("tiles have the tower's size", {"do_center_crop", "default_to_square"}),
              idle_keys("of several images in one call", {"do_pad"})})};
  return reader;
}

Canvases read_canvases(const Json& config, const std::string& where, int64_t side, Canvases otherwise) {
  if (has(config, "image_grid_pinpoints")) {
    otherwise.clear();
    for (const Json& entry : get_array(config, "image_grid_pinpoints", where)) {
      require(entry.is_array() && entry.size() == 2 && entry[0].is_number_integer() && entry[1].is_number_integer(),
              "{}: image_grid_pinpoints: expected pairs of height and width, found {}", where, printable(entry.dump()));
      otherwise.push_back({entry[0].get<int64_t>(), entry[1].get<int64_t>()});
    }
  }
  require(!otherwise.empty(), "{}: image_grid_pinpoints: expected one pair or more, found none", where);
  for (const auto& [height, width] : otherwise) {
    const bool whole = height > 0 && width > 0 && height % side == 0 && width % side == 0;
    require(whole && height <= kLargestSide && width <= kLargestSide && height <= kLargestImage / width,
            "{}: image_grid_pinpoints: expected multiples of the tower's image_size {}, found {} x {}", where, side,
            height, width);
  }
  return otherwise;
}

Canvases next_canvases() { return {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}}; }
Canvases onevision_canvases() {
  Canvases all;
  for (int64_t rows = 1; rows <= 6; ++rows)
    for (int64_t columns = 1; columns <= 6; ++columns) all.push_back({384 * rows, 384 * columns});
  return all;
}

DecoderSpec text_spec(const Json& config, const std::string& where) {
  const std::string type = get_string_or(config, "model_type", where, "llama");
  if (type == "qwen2") {
    check_keys(config, qwen2_reader(), where);
    return qwen2_text(config, where);
  }
  require(type == "llama" || type == "mistral",
          "{}: model_type: '{}' is not supported; expected llama, mistral or qwen2, the dense ones{}", where,
          printable(type), did_you_mean(type, {"llama", "mistral", "qwen2"}));
  check_keys(config, text_reader(), where);
  if (type == "llama") return llama_spec(config, where);
  Json filled = config;  // transformers' MistralConfig
  for (const auto& [key, value] : {std::pair{"num_key_value_heads", 8},
                                   {"intermediate_size", 14336},
                                   {"max_position_embeddings", 131072},
                                   {"sliding_window", 4096}})
    if (!filled.contains(key)) filled[key] = value;
  DecoderSpec text = llama_spec(filled, where);
  const int64_t sliding = get_int_or(filled, "sliding_window", where, 1, int64_t(1) << 40, int64_t(1) << 40);
  require(sliding >= text.max_position_embeddings,
          "{}: sliding_window {} within max_position_embeddings {} is not supported", where, sliding,
          text.max_position_embeddings);
  return text;
}

/// Defaults are those of transformers' SiglipVisionConfig. What lies behind the last whole patch is not looked at.
VisionSpec siglip_spec(const Json& config, const std::string& where, int64_t feature_layer) {
  check_keys(config, siglip_reader(), where);
  VisionSpec defaults;
  defaults.hidden_size = 768;
  defaults.intermediate_size = 3072;
  defaults.num_hidden_layers = 12;
  defaults.num_attention_heads = 12;
  defaults.image_size = 224;
  defaults.patch_size = 16;
  defaults.layer_norm_eps = 1e-6;
  defaults.hidden_act = Activation::GeluTanh;
  VisionSpec vision = read_square_vision(config, where, defaults);
  vision.class_token = vision.pre_norm = false;
  vision.patch_bias = true;
  vision.taps = {{blocks_until(feature_layer, vision.num_hidden_layers, "vision_feature_layer", where)}};
  VisionSpec whole = vision;
  whole.image_size -= vision.image_size % vision.patch_size;
  check_vision(whole, where);
  return vision;
}

struct Kind {
  const KeyReader& (*reader)();
  const char* tower;  // vision_config.model_type
  VisionSpec (*vision)(const Json& config, const std::string& where, int64_t feature_layer);
  const char* strategy;  // vision_feature_select_strategy
  int64_t feature_layer, image_token;
  Canvases (*canvases)();
};
const Kind kNext = {next_reader, "clip_vision_model", clip_spec, "default", -2, 32000, next_canvases};
const Kind kOneVision = {onevision_reader, "siglip_vision_model", siglip_spec, "full", -1, 151646, onevision_canvases};

ModelSpec read_kind(const Kind& kind, const Json& config, const std::string& where) {
  ModelSpec spec;
  check_keys(config, kind.reader(), where);
  const Json& text = get_object(config, "text_config", where);
  spec.text = text_spec(text, where + ": text_config");
  spec.text.tie_word_embeddings =
      get_bool_or(config, "tie_word_embeddings", where, false) || spec.text.tie_word_embeddings;
  const std::string strategy = get_string_or(config, "vision_feature_select_strategy", where, kind.strategy);
  require(strategy == kind.strategy, "{}: vision_feature_select_strategy: expected {}, found {}{}", where,
          kind.strategy, printable(strategy), did_you_mean(strategy, {kind.strategy}));
  const Json& vision = get_object(config, "vision_config", where);
  const std::string type = get_string_or(vision, "model_type", where, kind.tower);
  require(type == kind.tower, "{}: vision_config.model_type: expected {}, found {}", where, kind.tower,
          printable(type));
  spec.vision = kind.vision(vision, where + ": vision_config",
                            get_int_or(config, "vision_feature_layer", where, -4096, 4096, kind.feature_layer));
  read_llava_projector(config, where, kind.image_token, spec);
  spec.image.fit = ImageSpec::Fit::AnyRes;
  spec.image.tile_size = spec.vision.image_size;
  spec.image.resolutions = read_canvases(config, where, spec.vision.image_size, kind.canvases());
  return spec;
}

ModelSpec read_next(const Json& config, const std::string& where) {
  ModelSpec spec = read_kind(kNext, config, where);
  spec.layout = "llava-next-hf";
  const int64_t declared = get_int_or(config, "image_seq_length", where, 1, kMaxSize, spec.image_tokens());
  if (declared != spec.image_tokens())
    remark(fmt::format("{}: image_seq_length {} contradicts the tower's {} visual tokens a tile, which are taken",
                       where, declared, spec.image_tokens()));
  return spec;
}

ModelSpec read_onevision(const Json& config, const std::string& where) {
  ModelSpec spec = read_kind(kOneVision, config, where);
  spec.layout = "llava-onevision-hf";
  spec.image.single_tile = true;
  const std::string ratio = get_string_or(config, "vision_aspect_ratio", where, "anyres_max_9"), form = "anyres_max_";
  const std::string most = ratio.starts_with(form) ? ratio.substr(form.size()) : "";
  const bool number = !most.empty() && most.size() < 5 && most.find_first_not_of("0123456789") == std::string::npos;
  require(number && std::stoll(most) > 0, "{}: vision_aspect_ratio: expected {}N, found {}", where, form,
          printable(ratio));
  spec.image.max_grids = std::stoll(most);
  return spec;
}

/// transformers' LlavaNextImageProcessor and LlavaOnevisionImageProcessor. What config.json says is added by `locate`.
ImageSpec read_images(const Json& config, const std::string& where, const VisionSpec& vision) {
  const bool next = vision.class_token;
  ImageSpec image;
  image.fit = ImageSpec::Fit::AnyRes;
  image.patch_size = vision.patch_size;
  image.tile_size = image.resize = image.crop_height = image.crop_width = vision.image_size;
  image.mean = next ? kClipMean : std::array<float, 3>{0.5f, 0.5f, 0.5f};
  image.std = next ? kClipStd : std::array<float, 3>{0.5f, 0.5f, 0.5f};
  if (!next) image.pad_color = {127, 127, 127};  // int(mean * 255)
  if (config.is_null()) return image;
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  check_keys(config, image_reader(), where);
  image.mean = kClipMean;
  image.std = kClipStd;
  image.pad_color = {122, 116, 104};
  for (const char* key : {"size", "crop_size"}) {
    const Json usual = next ? Json{{"side", 224}} : key == std::string("size") ? Json{{"side", 384}} : Json::object();
    const Json& size = has(config, key) ? get_object(config, key, where) : usual;
    for (const auto& [part, value] : size.items())
      require(value.is_null() || value == vision.image_size,
              "{}: {}: {}: expected the vision tower's image_size {}, found {}", where, key, printable(part),
              vision.image_size, printable(value.dump()));
  }
  read_image_steps(config, where, image);
  image.do_center_crop = false;
  image.resolutions = read_canvases(config, where, vision.image_size, next ? next_canvases() : onevision_canvases());
  return image;
}

void locate(const Checkpoint& checkpoint, ModelSpec& spec) {
  for (const TensorLayout& layout : family_of(spec).layouts)
    if (checkpoint.contains(layout.decoder + "embed_tokens.weight") &&
        checkpoint.contains(layout.vision + "embeddings.patch_embedding.weight")) {
      spec.layout = layout.name;
      break;
    }
  untie_stored_head(checkpoint, spec);
  spec.dtype = checkpoint.at(layout_of(spec).decoder + "embed_tokens.weight").dtype;
  const ImageRules rules = find_image_rules({checkpoint.folder()}, "the rules published with the model");
  ImageSpec image = read_images(rules.values, rules.where, spec.vision);
  if (image.resolutions.empty()) image.resolutions = spec.image.resolutions;
  require(image.resolutions == spec.image.resolutions, "{}: image_grid_pinpoints contradict those of config.json",
          rules.where);
  image.max_grids = spec.image.max_grids;
  image.single_tile = spec.image.single_tile;
  image.backend = rules.backend;
  spec.image = image;
  read_special_ids(checkpoint, spec);
}

PromptTemplate choose_template(const fs::path& folder, const ModelSpec& spec) {
  const Family& family = family_of(spec);
  const fs::path file = folder / "config.json";
  const Json config = read_json(file);
  const std::string type = get_string_or(get_object(config, "text_config", file.string()), "model_type", file.string(),
                                         family.name == "llava_next" ? "llama" : "qwen2");
  return own_template(family.templates, folder,
                      type == "mistral" ? "llava-next-mistral"
                      : type == "llama" ? "llava-next-vicuna"
                                        : "llava-onevision");
}

std::vector<PromptTemplate> prompt_templates() {
  const auto form = [](const char* name, const char* system, const char* user, const char* assistant,
                       const char* stop) {
    return PromptTemplate{name, system, user, assistant, "<image>", "", "", "\n", stop};
  };
  return {form("llava-next-mistral", "", "[INST] ", " [/INST]", "</s>"),
          form("llava-next-vicuna",
               "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
               "detailed, and polite answers to the human's questions. ",
               "USER: ", " ASSISTANT:", "</s>"),
          form("llava-onevision", "", "<|im_start|>user ", "<|im_end|><|im_start|>assistant\n", "<|im_end|>"),
          form("chatml", "", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>")};
}

/// As published, as transformers 4.52 and later save it, and as transformers 5 saves a model that it made.
std::vector<TensorLayout> layouts(const std::string& name) {
  const std::vector<TensorName> names = tensor_names();
  std::vector<TensorLayout> all;
  for (const bool inner : {true, false})
    for (const bool moved : {false, true}) {
      const std::string root = moved ? "model." : "", tower = root + "vision_tower.";
      TensorLayout layout{name + (moved ? "-model" : "") + (inner ? "" : "-5"),
                          names,
                          moved ? "model.language_model." : "language_model.model.",
                          moved ? "" : "language_model.",
                          inner ? tower + "vision_model." : tower,
                          root + "multi_modal_projector."};
      layout.root = root;
      all.push_back(std::move(layout));
    }
  return all;
}

Family family_record(const char* name, const char* architecture, const Kind& kind,
                     ModelSpec (*read_config)(const Json&, const std::string&), const std::string& layout) {
  return {
      .name = name,
      .architectures = {architecture},
      .model_types = {name},
      .text_key = "text_config",
      .vision_key = "vision_config",
      .layouts = layouts(layout),
      .templates = prompt_templates(),
      .read_config = read_config,
      .locate = locate,
      .read_images = read_images,
      .choose_template = choose_template,
      .readers = {&kind.reader(), &text_reader(), &qwen2_reader(), &clip_reader(), &siglip_reader(), &image_reader()},
  };
}

}  // namespace

const Family& llava_next_family() {
  static const Family family =
      family_record("llava_next", "LlavaNextForConditionalGeneration", kNext, read_next, "llava-next-hf");
  return family;
}

const Family& llava_onevision_family() {
  static const Family family = family_record("llava_onevision", "LlavaOnevisionForConditionalGeneration", kOneVision,
                                             read_onevision, "llava-onevision-hf");
  return family;
}

}  // namespace yopo
