#include "models/family_llava.h"

#include <algorithm>

namespace yopo {

namespace {

constexpr int64_t kMaxSize = 1 << 20;  // no width, count or vocabulary of this field comes near it

Activation activation_of(const std::string& name, const std::string& where) {
  if (name == "silu") return Activation::Silu;
  if (name == "gelu") return Activation::Gelu;
  if (name == "quick_gelu") return Activation::QuickGelu;
  fail("{}: activation '{}' is not one we know (silu, gelu, quick_gelu){}", where, name,
       did_you_mean(name, {"silu", "gelu", "quick_gelu"}));
}

/// A LLaMA config; defaults are those of transformers' LlamaConfig.
DecoderSpec llama_spec(const Json& config, const std::string& where) {
  DecoderSpec text;
  text.num_hidden_layers = get_int_or(config, "num_hidden_layers", where, 1, 4096, 32);
  text.hidden_size = get_int_or(config, "hidden_size", where, 1, kMaxSize, 4096);
  text.num_attention_heads = get_int_or(config, "num_attention_heads", where, 1, 4096, 32);
  text.num_key_value_heads = get_int_or(config, "num_key_value_heads", where, 1, 4096, text.num_attention_heads);
  require(text.num_attention_heads % text.num_key_value_heads == 0,
          "{}: num_attention_heads {} is no multiple of num_key_value_heads {}", where, text.num_attention_heads,
          text.num_key_value_heads);
  if (!has(config, "head_dim"))
    require(text.hidden_size % text.num_attention_heads == 0, "{}: hidden_size {} is no multiple of num_attention_heads {}",
            where, text.hidden_size, text.num_attention_heads);
  text.head_dim = get_int_or(config, "head_dim", where, 2, 4096, text.hidden_size / text.num_attention_heads);
  require(text.head_dim % 2 == 0, "{}: head_dim {} is odd; rotary embedding needs pairs", where, text.head_dim);
  text.intermediate_size = get_int_or(config, "intermediate_size", where, 1, kMaxSize, 11008);
  text.vocab_size = get_int_or(config, "vocab_size", where, 1, int64_t(1) << 24, 32000);
  text.max_position_embeddings = get_int_or(config, "max_position_embeddings", where, 1, int64_t(1) << 40, 2048);
  text.rms_norm_eps = get_number_or(config, "rms_norm_eps", where, 1e-6);
  require(text.rms_norm_eps > 0 && text.rms_norm_eps < 1, "{}: rms_norm_eps {} lies outside (0, 1)", where,
          text.rms_norm_eps);
  text.attention_bias = get_bool_or(config, "attention_bias", where, false);
  require(!get_bool_or(config, "mlp_bias", where, false), "{}: mlp_bias: a LLaMA FFN with biases is not supported", where);
  text.tie_word_embeddings = get_bool_or(config, "tie_word_embeddings", where, false);
  text.rope.theta = get_number_or(config, "rope_theta", where, 10000.0);
  require(text.rope.theta > 1, "{}: rope_theta {} must be above 1", where, text.rope.theta);
  require(!has(config, "rope_scaling"), "{}: rope_scaling {} is not supported for LLaMA", where,
          has(config, "rope_scaling") ? config["rope_scaling"].dump() : "");
  const std::string act = get_string_or(config, "hidden_act", where, "silu");
  require(activation_of(act, where) == Activation::Silu, "{}: hidden_act: expected silu, found {}", where, act);
  return text;
}

/// A CLIP vision config; defaults are those of transformers' CLIPVisionConfig (hidden_act quick_gelu, eps 1e-5).
VisionSpec clip_spec(const Json& config, const std::string& where, int64_t feature_layer, bool drop_class_token) {
  VisionSpec vision;
  vision.hidden_size = get_int_or(config, "hidden_size", where, 1, kMaxSize, 768);
  vision.intermediate_size = get_int_or(config, "intermediate_size", where, 1, kMaxSize, 3072);
  vision.num_hidden_layers = get_int_or(config, "num_hidden_layers", where, 1, 4096, 12);
  vision.num_attention_heads = get_int_or(config, "num_attention_heads", where, 1, 4096, 12);
  require(vision.hidden_size % vision.num_attention_heads == 0, "{}: hidden_size {} is no multiple of num_attention_heads {}",
          where, vision.hidden_size, vision.num_attention_heads);
  vision.image_size = get_int_or(config, "image_size", where, 1, 16384, 224);
  vision.patch_size = get_int_or(config, "patch_size", where, 1, vision.image_size, 32);
  require(vision.image_size % vision.patch_size == 0, "{}: image_size {} is no multiple of patch_size {}", where,
          vision.image_size, vision.patch_size);
  vision.layer_norm_eps = get_number_or(config, "layer_norm_eps", where, 1e-5);
  vision.hidden_act = activation_of(get_string_or(config, "hidden_act", where, "quick_gelu"), where);
  vision.drop_class_token = drop_class_token;
  // hidden_states[0] is the embedding and hidden_states[n] the output of block n - 1: N + 1 entries, negatives from the end.
  const int64_t states = vision.num_hidden_layers + 1;
  const int64_t index = feature_layer < 0 ? states + feature_layer : feature_layer;
  require(index >= 0 && index < states, "{}: feature layer {} of a tower with {} layers", where, feature_layer,
          vision.num_hidden_layers);
  vision.layers_run = index;
  return vision;
}

/// Where a checkpoint made from the config alone has its tensors; the one that is there has the last word (locate_*).
void set_prefixes(ModelSpec& spec, const char* decoder, const char* head, const char* vision, const char* projector) {
  spec.decoder_prefix = decoder;
  spec.head_prefix = head;
  spec.vision_prefix = vision;
  spec.projector_prefix = projector;
}

ModelSpec llava_hf_spec(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.family = "llava";
  spec.layout = "llava-hf";
  set_prefixes(spec, "language_model.model.", "language_model.", "vision_tower.vision_model.", "multi_modal_projector.");
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
          "{}: vision_feature_select_strategy: expected default, found {}{}; a class token has no place on the image's grid",
          where, strategy, did_you_mean(strategy, {"default"}));
  const Json& vision = get_object(config, "vision_config", where);
  const std::string vision_type = get_string_or(vision, "model_type", where, "clip_vision_model");
  require(vision_type == "clip_vision_model", "{}: vision_config.model_type: expected clip_vision_model, found {}", where,
          vision_type);
  spec.vision = clip_spec(vision, where + ": vision_config", feature_layer, true);

  spec.projector.hidden_act =
      activation_of(get_string_or(config, "projector_hidden_act", where, "gelu"), where + ": projector_hidden_act");
  spec.projector.bias = get_bool_or(config, "multimodal_projector_bias", where, true);
  const std::string id_key = has(config, "image_token_index") ? "image_token_index" : "image_token_id";
  spec.image_token_id = get_int_or(config, id_key, where, 0, spec.text.vocab_size - 1, 32000);
  require(spec.image_token_id < spec.text.vocab_size, "{}: {} {} lies outside the vocabulary of {}", where, id_key,
          spec.image_token_id, spec.text.vocab_size);
  if (has(config, "image_seq_length")) {
    const int64_t declared = get_int(config, "image_seq_length", where, 1, kMaxSize);
    require(declared == spec.image_tokens(), "{}: image_seq_length {} contradicts the tower's {} visual tokens", where,
            declared, spec.image_tokens());
  }
  return spec;
}

ModelSpec llava_original_spec(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.family = "llava";
  spec.layout = "llava-original";
  set_prefixes(spec, "model.", "", "model.vision_tower.vision_tower.vision_model.", "model.mm_projector.");
  spec.text = llama_spec(config, where);
  spec.image_token_id = -200;  // IMAGE_TOKEN_INDEX of the original code
  spec.expanded_placeholders = false;
  const std::string projector = get_string_or(config, "mm_projector_type", where, "linear");
  require(projector == "mlp2x_gelu", "{}: mm_projector_type: expected mlp2x_gelu (LLaVA-1.5), found {}", where, projector);
  const std::string feature = get_string_or(config, "mm_vision_select_feature", where, "patch");
  require(feature == "patch", "{}: mm_vision_select_feature: expected patch, found {}{}", where, feature,
          did_you_mean(feature, {"patch"}));
  for (const char* key : {"mm_use_im_start_end", "mm_use_im_patch_token"})
    require(!get_bool_or(config, key, where, false), "{}: {} is not supported", where, key);
  // CLIP-ViT-L/14-336, the tower of LLaVA-1.5, until the tower's own config is read (dry runs and bench have only this one).
  spec.vision = clip_spec(Json{{"hidden_size", get_int_or(config, "mm_hidden_size", where, 1, kMaxSize, 1024)},
                               {"intermediate_size", 4096}, {"num_hidden_layers", 24}, {"num_attention_heads", 16},
                               {"image_size", 336}, {"patch_size", 14}},
                          where, get_int_or(config, "mm_vision_select_layer", where, -4096, 4096, -2), true);
  return spec;
}

/// image rules from preprocessor_config.json; transformers' CLIPImageProcessor defaults where a key is absent.
ImageSpec image_spec(const fs::path& file, int64_t side) {
  ImageSpec image;
  image.resize = image.crop_height = image.crop_width = side;
  image.mean = {0.48145466f, 0.4578275f, 0.40821073f};  // OPENAI_CLIP_MEAN
  image.std = {0.26862954f, 0.26130258f, 0.27577711f};
  if (!fs::exists(file)) return image;
  const Json config = read_json(file);
  const std::string where = file.string();
  // Only the shape the tower takes makes sense; both spellings of transformers ({"shortest_edge": n} and n) are read.
  const auto edge = [&](const char* key, const char* part, int64_t fallback) {
    if (!has(config, key)) return fallback;
    if (config[key].is_object()) return get_int_or(config[key], part, where + ": " + key, 1, 16384, fallback);
    return get_int(config, key, where, 1, 16384);
  };
  if (has(config, "size") && config["size"].is_object())
    require(has(config["size"], "shortest_edge"), "{}: size: expected shortest_edge, found {}", where, config["size"].dump());
  image.resize = edge("size", "shortest_edge", side);
  image.crop_height = edge("crop_size", "height", side);
  image.crop_width = edge("crop_size", "width", side);
  image.do_resize = get_bool_or(config, "do_resize", where, true);
  image.do_center_crop = get_bool_or(config, "do_center_crop", where, true);
  image.do_rescale = get_bool_or(config, "do_rescale", where, true);
  image.do_normalize = get_bool_or(config, "do_normalize", where, true);
  image.resample = int(get_int_or(config, "resample", where, 0, 5, 3));
  require(image.resample == 2 || image.resample == 3, "{}: resample: expected 2 (bilinear) or 3 (bicubic), found {}", where,
          image.resample);
  image.rescale_factor = get_number_or(config, "rescale_factor", where, 1.0 / 255.0);
  for (const char* key : {"image_mean", "image_std"}) {
    if (!has(config, key)) continue;
    const Json& values = get_array(config, key, where);
    require(values.size() == 3, "{}: {}: expected 3 numbers, found {}", where, key, values.size());
    for (size_t c = 0; c < 3; ++c) {
      require(values[c].is_number(), "{}: {}: expected numbers, found {}", where, key, values[c].dump());
      (std::string(key) == "image_mean" ? image.mean : image.std)[c] = values[c].get<float>();
    }
  }
  for (float deviation : image.std) require(deviation > 0, "{}: image_std: must be above 0, found {}", where, deviation);
  require(image.crop_height == side && image.crop_width == side,
          "{}: crop_size {} x {} contradicts the vision tower's image_size {}", where, image.crop_height, image.crop_width, side);
  return image;
}

void read_special_ids(const Checkpoint& checkpoint, ModelSpec& spec) {
  const auto ids_of = [&](const Json& config, const std::string& where, const char* key, std::vector<int64_t> fallback) {
    if (!config.is_object() || !has(config, key)) return fallback;
    std::vector<int64_t> ids;
    const Json list = config[key].is_array() ? config[key] : Json::array({config[key]});
    for (const Json& id : list) {
      require(id.is_number_integer(), "{}: {}: expected token ids, found {}", where, key, id.dump());
      ids.push_back(id.get<int64_t>());
    }
    return ids;
  };
  const std::string where = (checkpoint.folder() / "config.json").string();
  const Json& config = checkpoint.config();
  const Json text = has(config, "text_config") ? config["text_config"] : Json::object();
  const fs::path generation = checkpoint.folder() / "generation_config.json";
  const Json generate = fs::exists(generation) ? read_json(generation) : Json::object();
  for (const auto& [target, key, fallback] :
       {std::tuple{&spec.eos_token_ids, "eos_token_id", std::vector<int64_t>{2}}}) {
    *target = ids_of(text, where, key, fallback);
    *target = ids_of(config, where, key, *target);
    *target = ids_of(generate, generation.string(), key, *target);
  }
  const auto one = [&](const char* key, int64_t fallback) {
    const std::vector<int64_t> ids = ids_of(config, where, key, ids_of(text, where, key, {fallback}));
    return ids.empty() ? fallback : ids.front();
  };
  spec.bos_token_id = one("bos_token_id", 1);
  spec.pad_token_id = one("pad_token_id", 0);
}

/// mm_vision_tower comes from outside: a hub name or another machine's path is no folder here, and only folders inside the
/// checkpoint or beside it are opened.
fs::path tower_folder(const Checkpoint& checkpoint, const std::string& name) {
  const std::string where = (checkpoint.folder() / "config.json").string() + ": mm_vision_tower";
  require(!name.empty(), "{}: missing, and the checkpoint holds no vision tower", where);
  const fs::path last = fs::path(name).filename();
  std::vector<fs::path> tried;
  for (const fs::path& base : {checkpoint.folder(), fs::absolute(checkpoint.folder()).lexically_normal().parent_path()}) {
    std::vector<fs::path> names{last};
    if (fs::path(name).is_relative()) names.insert(names.begin(), name);
    for (const fs::path& candidate : names) {
      const fs::path folder = inside(base, candidate.string(), where);
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
  const bool embedded = checkpoint.contains(spec.vision_prefix + "embeddings.class_embedding");
  fs::path preprocessor = checkpoint.folder() / "preprocessor_config.json";
  const std::string tower_name = get_string_or(config, "mm_vision_tower", where, "");
  if (!embedded || !tower_name.empty()) {
    try {
      const fs::path folder = tower_folder(checkpoint, tower_name);
      const Json tower = read_json(folder / "config.json");
      const std::string tower_where = (folder / "config.json").string();
      const bool nested = has(tower, "vision_config");  // a whole CLIP checkpoint keeps both towers' sizes
      spec.vision = clip_spec(nested ? tower["vision_config"] : tower, tower_where, layer, true);
      if (!embedded) spec.vision_folder = folder;
      if (!fs::exists(preprocessor)) preprocessor = folder / "preprocessor_config.json";
    } catch (const UserError&) {
      if (!embedded) throw;
    }
  }
  if (has(config, "mm_hidden_size")) {
    const int64_t declared = get_int(config, "mm_hidden_size", where, 1, kMaxSize);
    require(declared == spec.vision.hidden_size, "{}: mm_hidden_size {} contradicts the vision tower's hidden_size {}", where,
            declared, spec.vision.hidden_size);
  }
  spec.image = image_spec(preprocessor, spec.vision.image_size);
  const std::string aspect = get_string_or(config, "image_aspect_ratio", where, "square");
  require(aspect == "pad" || aspect == "square", "{}: image_aspect_ratio: expected pad or square, found {}{}", where, aspect,
          did_you_mean(aspect, {"pad", "square"}));
  if (aspect == "pad") spec.image.fit = ImageSpec::Fit::PadToSquare;
}

void locate_hf(const Checkpoint& checkpoint, ModelSpec& spec) {
  const bool renamed = checkpoint.contains("model.language_model.embed_tokens.weight");
  spec.layout = renamed ? "llava-hf-4.52" : "llava-hf";
  if (renamed)
    set_prefixes(spec, "model.language_model.", "", "model.vision_tower.vision_model.", "model.multi_modal_projector.");
  spec.image = image_spec(checkpoint.folder() / "preprocessor_config.json", spec.vision.image_size);
}

}  // namespace

ModelSpec llava_spec(const Json& config, const std::string& where) {
  const std::string architecture = config["architectures"][0].get<std::string>();
  return architecture == "LlavaLlamaForCausalLM" ? llava_original_spec(config, where) : llava_hf_spec(config, where);
}

void locate_llava_tensors(const Checkpoint& checkpoint, ModelSpec& spec) {
  if (spec.layout == "llava-original") {
    locate_original(checkpoint, spec);
  } else {
    locate_hf(checkpoint, spec);
  }
  const std::string embedding = spec.decoder_prefix + "embed_tokens.weight";
  spec.dtype = checkpoint.at(embedding).dtype;
  read_special_ids(checkpoint, spec);
}

}  // namespace yopo
