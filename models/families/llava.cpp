// LLaVA-1.5 (Liu et al., arXiv 2310.03744) in its three layouts: transformers' old and new names, and the original with
// a separate CLIP tower.
#include <algorithm>

#include "core/remarks.h"
#include "core/system_error.h"
#include "models/families/common_keys.h"
#include "models/families/llava_parts.h"
#include "models/families/parts.h"

namespace yopo {

const Family& llava_family();

namespace {

constexpr const char* kOriginal = "llava-original";
constexpr const char* kDefaults = "CLIP's rules at the tower's size";
constexpr const char* kPublished = "a setting of YOPO's published code; here a plan says what is pruned";

std::vector<TensorName> tensor_names(const char* project1, const char* project1_bias, const char* project2,
                                     const char* project2_bias) {
  std::vector<TensorName> names = llama_names();
  for (const std::vector<TensorName>& more :
       {clip_names(), std::vector<TensorName>{{Role::Project1, project1},
                                              {Role::Project1Bias, project1_bias},
                                              {Role::Project2, project2},
                                              {Role::Project2Bias, project2_bias}}})
    names.insert(names.end(), more.begin(), more.end());
  return names;
}

const char* const kTraining = "for training";

const KeyReader& root_reader() {
  static const KeyReader reader = {
      "LLaVA's config.json",
      joined({config_keys(), root_keys(),
              read_keys({"tie_word_embeddings", "text_config", "vision_config", "image_token_index", "image_token_id",
                         "image_seq_length", "projector_hidden_act", "vision_feature_layer",
                         "vision_feature_select_strategy", "multimodal_projector_bias", "bos_token_id", "eos_token_id",
                         "pad_token_id", "yopo", "quantization_config"}),
              idle_keys(kTraining, {"ignore_index"}), idle_keys("text_config says it", {"vocab_size"})})};
  return reader;
}

const KeyReader& text_reader() {
  static const KeyReader reader = {"LLaVA's text_config",
                                   joined({config_keys(), llama_keys(), read_keys({"model_type"})})};
  return reader;
}

const KeyReader& original_reader() {
  static const KeyReader reader = {
      "the config.json of the original LLaVA",
      joined({config_keys(),
              root_keys(),
              llama_keys(),
              read_keys({"mm_vision_tower", "mm_vision_select_layer", "mm_vision_select_feature", "mm_hidden_size",
                         "mm_projector_type", "image_aspect_ratio", "yopo", "quantization_config"}),
              idle_keys(kTraining, {"freeze_mm_mlp_adapter", "tune_mm_mlp_adapter", "mm_projector_lr",
                                    "freeze_mm_vision_resampler", "tune_mm_vision_resampler",
                                    "unfreeze_mm_vision_tower", "mm_vision_tower_lr", "tokenizer_model_max_length",
                                    "tokenizer_padding_side", "mm_tunable_parts", "group_by_modality_length"}),
              idle_keys("of image_aspect_ratio anyres",
                        {"image_grid_pinpoints", "image_crop_resolution", "image_split_resolution"}),
              {refused_key("mm_use_im_start_end", "[false]", "marks around an image are not supported"),
               refused_key("mm_use_im_patch_token", "[false]", "a token for each patch is not supported"),
               refused_key("use_mm_proj", "[true]", "a model without a projector is not supported"),
               refused_key("mm_resampler_type", "[]", "resamplers are not supported"),
               refused_key("mm_patch_merge_type", "[\"flat\"]", "another way to join patches is not supported"),
               told_key("attncut_w", "[]", kPublished), told_key("layercut_num", "[]", kPublished),
               told_key("headcut_num", "[]", kPublished), told_key("mlpcut_ratio", "[]", kPublished),
               told_key("sprompt_len", "[]", kPublished)}})};
  return reader;
}

const KeyReader& image_reader() {
  static const KeyReader reader = {"CLIP's and LLaVA's image processor",
                                   joined({image_processor_keys(),
                                           read_keys({"do_center_crop", "crop_size", "do_pad"}),
                                           {refused_key("default_to_square", "[false]", "it is not supported")}})};
  return reader;
}

ModelSpec hf_spec(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.layout = "llava-hf";
  check_keys(config, root_reader(), where);
  check_keys(get_object(config, "text_config", where), text_reader(), where + ": text_config");
  spec.text = llama_spec(get_object(config, "text_config", where), where + ": text_config");
  const std::string text_type = get_string_or(config["text_config"], "model_type", where, "llama");
  require(text_type == "llama", "{}: text_config.model_type: expected llama, found {}", where, text_type);
  spec.text.tie_word_embeddings =
      get_bool_or(config, "tie_word_embeddings", where, false) || spec.text.tie_word_embeddings;

  require(!has(config, "vision_feature_layer") || config["vision_feature_layer"].is_number_integer(),
          "{}: vision_feature_layer: expected one layer, found {}", where,
          has(config, "vision_feature_layer") ? config["vision_feature_layer"].dump() : "");
  const int64_t feature_layer = get_int_or(config, "vision_feature_layer", where, -4096, 4096, -2);
  const std::string strategy = get_string_or(config, "vision_feature_select_strategy", where, "default");
  require(strategy == "default",
          "{}: vision_feature_select_strategy: expected default, found {}{}; a class token has no place on the image's "
          "grid",
          where, strategy, did_you_mean(strategy, {"default"}));
  const Json& vision = get_object(config, "vision_config", where);
  const std::string vision_type = get_string_or(vision, "model_type", where, "clip_vision_model");
  require(vision_type == "clip_vision_model", "{}: vision_config.model_type: expected clip_vision_model, found {}",
          where, vision_type);
  spec.vision = clip_spec(vision, where + ": vision_config", feature_layer);

  read_llava_projector(config, where, 32000, spec);
  if (has(config, "image_seq_length")) {
    const int64_t declared = get_int(config, "image_seq_length", where, 1, kMaxSize);
    if (declared != spec.image_tokens())
      remark(fmt::format("{}: image_seq_length {} contradicts the tower's {} visual tokens, which are taken", where,
                         declared, spec.image_tokens()));
  }
  return spec;
}

ModelSpec original_spec(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.layout = kOriginal;
  check_keys(config, original_reader(), where);
  spec.text = llama_spec(config, where);
  spec.image_token_id = -200;  // IMAGE_TOKEN_INDEX of the original code
  spec.expanded_placeholders = false;
  spec.projector.inner_size = spec.text.hidden_size;
  const std::string projector = get_string_or(config, "mm_projector_type", where, "linear");
  require(projector == "mlp2x_gelu", "{}: mm_projector_type: expected mlp2x_gelu (LLaVA-1.5), found {}", where,
          projector);
  const std::string feature = get_string_or(config, "mm_vision_select_feature", where, "patch");
  require(feature == "patch", "{}: mm_vision_select_feature: expected patch, found {}{}", where, feature,
          did_you_mean(feature, {"patch"}));
  // CLIP-ViT-L/14-336, the tower of LLaVA-1.5, until the tower's own config is read (dry runs and bench have only this
  // one).
  spec.vision = clip_spec(Json{{"hidden_size", get_int_or(config, "mm_hidden_size", where, 1, kMaxSize, 1024)},
                               {"intermediate_size", 4096},
                               {"num_hidden_layers", 24},
                               {"num_attention_heads", 16},
                               {"image_size", 336},
                               {"patch_size", 14}},
                          where, get_int_or(config, "mm_vision_select_layer", where, -4096, 4096, -2));
  return spec;
}

constexpr std::array<uint8_t, 3> kClipPad = {122, 116, 104};  // int(mean * 255)

/// Only shapes that the tower takes make sense; both spellings of transformers ({"shortest_edge": n} and n) are read.
int64_t edge_of(const Json& config, const char* key, const char* part, const std::string& where, int64_t fallback) {
  if (!has(config, key)) return fallback;
  if (!config[key].is_object()) return get_int(config, key, where, 1, kLargestSide);
  require(has(config[key], part), "{}: {}: expected {}, found {}", where, key, part, printable(config[key].dump()));
  return get_int(config[key], part, where + ": " + key, 1, kLargestSide);
}

void check_parts(const Json& config, const char* key, const std::vector<std::string>& parts, const std::string& where) {
  if (!has(config, key) || !config[key].is_object()) return;
  for (const auto& [part, value] : config[key].items())
    require(value.is_null() || std::find(parts.begin(), parts.end(), part) != parts.end(),
            "{}: {}: expected {}, found '{}'", where, key, fmt::join(parts, " and "), printable(part));
}

/// transformers' CLIPImageProcessor and LlavaImageProcessor; their defaults where a key or the file is absent. The crop
/// must have the tower's size.
ImageSpec read_images(const Json& config, const std::string& where, const VisionSpec& vision) {
  const int64_t side = vision.image_size;
  ImageSpec image;
  image.resize = image.crop_height = image.crop_width = side;
  image.mean = kClipMean;
  image.std = kClipStd;
  image.pad_color = kClipPad;
  image.patch_size = vision.patch_size;
  if (config.is_null()) return image;
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  check_keys(config, image_reader(), where);
  check_parts(config, "size", {"shortest_edge"}, where);
  check_parts(config, "crop_size", {"height", "width"}, where);
  image.resize = edge_of(config, "size", "shortest_edge", where, side);
  image.crop_height = edge_of(config, "crop_size", "height", where, side);
  image.crop_width = edge_of(config, "crop_size", "width", where, side);
  image.do_center_crop = get_bool_or(config, "do_center_crop", where, true);
  read_image_steps(config, where, image);
  // CLIP's own processor pads to the largest image of a batch, which changes nothing for one.
  const bool pads = get_bool_or(config, "do_pad", where, false);
  if (pads && get_string_or(config, "image_processor_type", where, "").starts_with("LlavaImageProcessor"))
    image.fit = ImageSpec::Fit::PadToSquare;
  require(image.crop_height == side && image.crop_width == side,
          "{}: crop_size {} x {} contradicts the vision tower's image_size {}", where, image.crop_height,
          image.crop_width, side);
  return image;
}

/// mm_vision_tower comes from outside: a hub name or another machine's path is no folder here, and only folders inside
/// the checkpoint or beside it are opened.
fs::path tower_folder(const Checkpoint& checkpoint, const std::string& name) {
  const std::string where = (checkpoint.folder() / "config.json").string() + ": mm_vision_tower";
  require(!name.empty(), "{}: missing, and the checkpoint holds no vision tower", where);
  const fs::path last = fs::path(name).filename();
  std::vector<fs::path> tried;
  for (const fs::path& base :
       {checkpoint.folder(), fs::absolute(checkpoint.folder()).lexically_normal().parent_path()}) {
    std::vector<fs::path> names{last};
    if (fs::path(name).is_relative()) names.insert(names.begin(), name);
    for (const fs::path& candidate : names) {
      fs::path folder = inside(base, candidate.string(), where);
      if (fs::exists(folder / "config.json")) return folder;
      tried.push_back(folder);
    }
  }
  std::vector<std::string> shown;
  for (const fs::path& folder : tried)
    if (std::find(shown.begin(), shown.end(), folder.string()) == shown.end()) shown.push_back(folder.string());
  fail("{}: the vision tower '{}' is not here; put its checkpoint at one of: {}", where, name, fmt::join(shown, ", "));
}

void locate_original(const Checkpoint& checkpoint, ModelSpec& spec) {
  const std::string where = (checkpoint.folder() / "config.json").string();
  const Json& config = checkpoint.config();
  const int64_t layer = get_int_or(config, "mm_vision_select_layer", where, -4096, 4096, -2);
  const bool embedded = checkpoint.contains(layout_of(spec).vision + "embeddings.class_embedding");
  std::vector<fs::path> image_folders = {checkpoint.folder()};
  const std::string tower_name = get_string_or(config, "mm_vision_tower", where, "");
  if (!embedded || !tower_name.empty()) {
    try {
      const fs::path folder = tower_folder(checkpoint, tower_name);
      const Json tower = read_json(folder / "config.json");
      const std::string tower_where = (folder / "config.json").string();
      const bool nested = has(tower, "vision_config");  // a whole CLIP checkpoint keeps both towers' sizes
      spec.vision = clip_spec(nested ? tower["vision_config"] : tower, tower_where, layer);
      if (!embedded) spec.vision_folder = folder;
      image_folders.push_back(folder);
    } catch (const SystemError&) {
      throw;
    } catch (const UserError&) {
      if (!embedded) throw;
    }
  }
  if (has(config, "mm_hidden_size")) {
    const int64_t declared = get_int(config, "mm_hidden_size", where, 1, kMaxSize);
    require(declared == spec.vision.hidden_size, "{}: mm_hidden_size {} contradicts the vision tower's hidden_size {}",
            where, declared, spec.vision.hidden_size);
  }
  const ImageRules rules = find_image_rules(image_folders, kDefaults);
  spec.image = read_images(rules.values, rules.where, spec.vision);
  spec.image.backend = rules.backend;
  const std::string aspect = get_string_or(config, "image_aspect_ratio", where, "square");
  require(aspect == "pad" || aspect == "square", "{}: image_aspect_ratio: expected pad or square, found {}{}", where,
          aspect, did_you_mean(aspect, {"pad", "square"}));
  if (aspect == "pad") spec.image.fit = ImageSpec::Fit::PadToSquare;
}

/// Decoder and tower each go by two names: the first layout that has both, else the first that has the decoder.
std::string hf_layout(const Checkpoint& checkpoint) {
  std::string decoder_only;
  for (const TensorLayout& layout : llava_family().layouts) {
    if (layout.name == kOriginal || !checkpoint.contains(layout.decoder + "embed_tokens.weight")) continue;
    if (checkpoint.contains(layout.vision + "embeddings.class_embedding")) return layout.name;
    if (decoder_only.empty()) decoder_only = layout.name;
  }
  return decoder_only.empty() ? "llava-hf" : decoder_only;
}

void locate_hf(const Checkpoint& checkpoint, ModelSpec& spec) {
  spec.layout = hf_layout(checkpoint);
  const ImageRules rules = find_image_rules({checkpoint.folder()}, kDefaults);
  spec.image = read_images(rules.values, rules.where, spec.vision);
  spec.image.backend = rules.backend;
}

ModelSpec read_config(const Json& config, const std::string& where) {
  const std::string architecture = config["architectures"][0].get<std::string>();
  return architecture == "LlavaLlamaForCausalLM" ? original_spec(config, where) : hf_spec(config, where);
}

void locate(const Checkpoint& checkpoint, ModelSpec& spec) {
  if (spec.layout == kOriginal)
    locate_original(checkpoint, spec);
  else
    locate_hf(checkpoint, spec);
  spec.dtype = checkpoint.at(layout_of(spec).decoder + "embed_tokens.weight").dtype;
  read_special_ids(checkpoint, spec);
}

PromptTemplate choose_template(const fs::path& folder, const ModelSpec& spec) {
  const std::vector<PromptTemplate>& templates = llava_family().templates;
  if (!spec.expanded_placeholders) return template_named(templates, "vicuna_v1", "the original code's template");
  return own_template(templates, folder, "llava-hf");
}

/// A form with its images in front of the question, a line each.
PromptTemplate form(const char* name, std::string system, const char* user, const char* assistant, const char* stop) {
  return {name, std::move(system), user, assistant, "<image>", "", "", "\n", stop};
}

/// Besides those of the original code and of transformers, the forms that models trained on other language models take.
/// A bos token is the tokenizer's affair.
std::vector<PromptTemplate> prompt_templates() {
  const std::string vicuna =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
      "and polite answers to the user's questions. ";
  const std::string llama2 =
      "[INST] <<SYS>>\nYou are a helpful language and vision assistant. You are able to understand the visual content "
      "that the user provides, and assist the user with a variety of tasks using natural language.\n<</SYS>>\n\n";
  const std::string mpt =
      "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. The assistant gives helpful "
      "and "
      "honest answers.<|im_end|>";
  return {
      form("vicuna_v1", vicuna, "USER: ", " ASSISTANT:", "</s>"),  // sentences and roles joined by one space
      // The chat template of the llava-hf/llava-1.5 checkpoints, which leave the system text out.
      form("llava-hf", "", "USER: ", " ASSISTANT:", "</s>"),
      // More of the original code's, by their names there.
      form("llava_llama_2", llama2, "", " [/INST]", "</s>"),
      form("mistral_instruct", "", "[INST] ", " [/INST]", "</s>"),
      form("mpt", mpt, "<|im_start|>user\n", "<|im_end|><|im_start|>assistant\n", "<|im_end|>"),
      form("chatml_direct", "<|im_start|>system\nAnswer the questions.<|im_end|>", "<|im_start|>user\n",
           "<|im_end|><|im_start|>assistant\n", "<|im_end|>"),
      // Of trainers: what they put around a question where a checkpoint does not say it.
      form("llama-2", "", "[INST] ", " [/INST]", "</s>"),
      form("chatml", "", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"),
      form("phi-3", "", "<|user|>\n", "<|end|>\n<|assistant|>\n", "<|end|>"),
      form("llama-3", "", "<|start_header_id|>user<|end_header_id|>\n\n",
           "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
      form("ms-swift", "", "USER: ", "\nASSISTANT:", "</s>"),  // its llava1_5_hf
  };
}

}  // namespace

const Family& llava_family() {
  static const std::vector<TensorName> hf =
      tensor_names("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias");
  static const Family family = {
      .name = "llava",
      .architectures = {"LlavaForConditionalGeneration", "LlavaLlamaForCausalLM"},
      .model_types = {"llava", "llava_llama"},
      .text_key = "text_config",
      .vision_key = "vision_config",
      .layouts = {{"llava-hf", hf, "language_model.model.", "language_model.", "vision_tower.vision_model.",
                   "multi_modal_projector."},
                  {"llava-hf-4.52", hf, "model.language_model.", "", "model.vision_tower.vision_model.",
                   "model.multi_modal_projector."},
                  // A model that transformers 5 made anew: towers without vision_model.
                  {"llava-hf-5", hf, "language_model.model.", "language_model.", "vision_tower.",
                   "multi_modal_projector."},
                  {"llava-hf-5-model", hf, "model.language_model.", "", "model.vision_tower.",
                   "model.multi_modal_projector."},
                  {kOriginal, tensor_names("0.weight", "0.bias", "2.weight", "2.bias"), "model.", "",
                   "model.vision_tower.vision_tower.vision_model.", "model.mm_projector.", "mm_vision_tower",
                   "vision_model.", "mm_projector.bin"}},
      .templates = prompt_templates(),
      .read_config = read_config,
      .locate = locate,
      .read_images = read_images,
      .choose_template = choose_template,
      .readers = {&root_reader(), &text_reader(), &original_reader(), &clip_reader(), &image_reader()},
  };
  return family;
}

}  // namespace yopo
