// InternVL2 (Chen et al., arXiv 2404.16821): InternViT and pixel shuffle in front of InternLM2 or Phi-3; pictures are
// cut into tiles. InternVL3 and 3.5 in their original layout are the same in front of Qwen2 or Qwen3.
#include <algorithm>

#include "images/image.h"
#include "models/families/common_keys.h"
#include "models/families/parts.h"
#include "models/families/qwen_text.h"
#include "text/added_tokens.h"

namespace yopo {

const Family& internvl2_family();

namespace {

std::vector<TensorName> with_vision(std::vector<TensorName> names) {
  const std::vector<TensorName> vision = {{Role::ClassEmbed, "embeddings.class_embedding", Fused::No, 2},
                                          {Role::PatchEmbed, "embeddings.patch_embedding.weight"},
                                          {Role::PatchBias, "embeddings.patch_embedding.bias"},
                                          {Role::PositionEmbed, "embeddings.position_embedding", Fused::No, 1},
                                          {Role::Norm1, "encoder.layers.{}.norm1.weight"},
                                          {Role::Norm1Bias, "encoder.layers.{}.norm1.bias"},
                                          {Role::VisionQ, "encoder.layers.{}.attn.qkv.weight", Fused::Blocks},
                                          {Role::VisionK, "encoder.layers.{}.attn.qkv.weight", Fused::Blocks},
                                          {Role::VisionV, "encoder.layers.{}.attn.qkv.weight", Fused::Blocks},
                                          {Role::VisionQBias, "encoder.layers.{}.attn.qkv.bias", Fused::Blocks},
                                          {Role::VisionKBias, "encoder.layers.{}.attn.qkv.bias", Fused::Blocks},
                                          {Role::VisionVBias, "encoder.layers.{}.attn.qkv.bias", Fused::Blocks},
                                          {Role::QNorm, "encoder.layers.{}.attn.q_norm.weight"},
                                          {Role::KNorm, "encoder.layers.{}.attn.k_norm.weight"},
                                          {Role::VisionO, "encoder.layers.{}.attn.proj.weight"},
                                          {Role::VisionOBias, "encoder.layers.{}.attn.proj.bias"},
                                          {Role::Scale1, "encoder.layers.{}.ls1"},
                                          {Role::Norm2, "encoder.layers.{}.norm2.weight"},
                                          {Role::Norm2Bias, "encoder.layers.{}.norm2.bias"},
                                          {Role::Fc1, "encoder.layers.{}.mlp.fc1.weight"},
                                          {Role::Fc1Bias, "encoder.layers.{}.mlp.fc1.bias"},
                                          {Role::Fc2, "encoder.layers.{}.mlp.fc2.weight"},
                                          {Role::Fc2Bias, "encoder.layers.{}.mlp.fc2.bias"},
                                          {Role::Scale2, "encoder.layers.{}.ls2"},
                                          {Role::ProjectNorm, "0.weight"},
                                          {Role::ProjectNormBias, "0.bias"},
                                          {Role::Project1, "1.weight"},
                                          {Role::Project1Bias, "1.bias"},
                                          {Role::Project2, "3.weight"},
                                          {Role::Project2Bias, "3.bias"}};
  names.insert(names.end(), vision.begin(), vision.end());
  return names;
}

constexpr const char* kTraining = "for training";
constexpr const char* kExperts = "of a mixture of experts, which use_moe leaves out";

const KeyReader& root_reader() {
  static const KeyReader reader = {
      "InternVL2's config.json",
      joined({config_keys(),
              root_keys(),
              read_keys({"llm_config", "vision_config", "select_layer", "downsample_ratio", "ps_version",
                         "force_image_size", "dynamic_image_size", "min_dynamic_patch", "max_dynamic_patch",
                         "use_thumbnail", "pad2square", "template", "bos_token_id", "eos_token_id", "pad_token_id",
                         "yopo", "quantization_config"}),
              idle_keys("llm_config says it", {"hidden_size", "vocab_size"}),
              {refused_key("use_backbone_lora", "[0, false]", "LoRA weights have to be merged first"),
               refused_key("use_llm_lora", "[0, false]", "LoRA weights have to be merged first"),
               refused_key("image_fold", "[]", "it is not supported"),
               told_key("system_message", "[\"\"]", "the template's own system turn is written")}})};
  return reader;
}

const KeyReader& internlm2_reader() {
  static const KeyReader reader = {
      "InternLM2's llm_config", joined({config_keys(),
                                        decoder_keys(),
                                        read_keys({"architectures"}),
                                        idle_keys("splits products of the same result", {"pretraining_tp"}),
                                        {refused_key("bias", "[false]", "InternLM2 with biases is not supported")}})};
  return reader;
}

const KeyReader& phi3_reader() {
  static const KeyReader reader = {
      "Phi-3's llm_config", joined({config_keys(),
                                    decoder_keys(),
                                    read_keys({"architectures", "sliding_window"}),
                                    idle_keys(kTraining, {"resid_pdrop", "embd_pdrop"}),
                                    {refused_key("attention_bias", "[false]", "Phi-3 with biases is not supported")}})};
  return reader;
}

const KeyReader& qwen2_reader() {
  static const KeyReader reader = {"Qwen2's llm_config",
                                   joined({qwen2_keys(), read_keys({"architectures", "tie_word_embeddings"})})};
  return reader;
}

const KeyReader& qwen3_reader() {
  static const KeyReader reader = {"Qwen3's llm_config",
                                   joined({qwen3_keys(), read_keys({"architectures", "tie_word_embeddings"})})};
  return reader;
}

const KeyReader& vision_reader() {
  static const KeyReader reader = {
      "InternViT's vision_config",
      joined(
          {config_keys(),
           read_keys({"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size",
                      "patch_size", "layer_norm_eps", "hidden_act", "norm_type", "qkv_bias", "qk_normalization"}),
           idle_keys(kTraining, {"dropout", "drop_path_rate"}),
           idle_keys("the tower makes no text", {"bos_token_id", "eos_token_id", "pad_token_id"}),
           idle_keys(kExperts, {"num_experts", "num_routed_experts", "num_shared_experts", "ep_size", "capacity_factor",
                                "eval_capacity_factor", "laux_allreduce", "moe_coeff_ratio", "moe_intermediate_size",
                                "moe_output_scale", "noisy_gate_policy", "shared_expert_intermediate_size",
                                "use_residual", "use_rts", "use_weighted_residual"}),
           {refused_key("num_channels", "[3]", "images are RGB"),
            refused_key("use_moe", "[false]", "a mixture of experts is not supported")}})};
  return reader;
}

DecoderSpec internlm2_spec(const Json& config, const std::string& where) {
  DecoderSpec defaults;  // the published InternLM2Config
  defaults.num_hidden_layers = 32;
  defaults.hidden_size = 4096;
  defaults.num_attention_heads = 32;
  defaults.intermediate_size = 11008;
  defaults.vocab_size = 103168;
  defaults.max_position_embeddings = 2048;
  defaults.rms_norm_eps = 1e-6;
  check_keys(config, internlm2_reader(), where);
  require(has(config, "bias"), "{}: bias: expected false, found nothing; the class's default is true", where);
  return read_decoder(config, where, defaults);
}

DecoderSpec phi3_spec(const Json& config, const std::string& where) {
  DecoderSpec defaults;  // transformers' Phi3Config
  defaults.num_hidden_layers = 32;
  defaults.hidden_size = 3072;
  defaults.num_attention_heads = 32;
  defaults.intermediate_size = 8192;
  defaults.vocab_size = 32064;
  defaults.max_position_embeddings = defaults.rope.original_positions = 4096;
  check_keys(config, phi3_reader(), where);
  DecoderSpec text = read_decoder(config, where, defaults);
  const int64_t sliding = get_int_or(config, "sliding_window", where, 1, int64_t(1) << 40, int64_t(1) << 40);
  require(sliding >= text.max_position_embeddings,
          "{}: sliding_window {} within max_position_embeddings {} is not supported", where, sliding,
          text.max_position_embeddings);
  return text;
}

DecoderSpec qwen2_spec(const Json& config, const std::string& where) {
  check_keys(config, qwen2_reader(), where);
  return qwen2_text(config, where);
}

DecoderSpec qwen3_spec(const Json& config, const std::string& where) {
  check_keys(config, qwen3_reader(), where);
  return qwen3_text(config, where);
}

/// A language model InternVL2 comes with.
struct Language {
  std::string architecture;
  DecoderSpec (*read)(const Json& config, const std::string& where);
  std::vector<TensorName> names;
  std::string decoder = "language_model.";  // in front of them
  bool may_tie = false;                     // InternVL2's class never ties; InternVL3.5's does as llm_config says
};

const std::vector<Language>& languages() {
  static const std::vector<Language> all = {
      {"InternLM2ForCausalLM", internlm2_spec,
       with_vision({{Role::EmbedTokens, "model.tok_embeddings.weight"},
                    {Role::InputNorm, "model.layers.{}.attention_norm.weight"},
                    {Role::Q, "model.layers.{}.attention.wqkv.weight", Fused::KvGroups},
                    {Role::K, "model.layers.{}.attention.wqkv.weight", Fused::KvGroups},
                    {Role::V, "model.layers.{}.attention.wqkv.weight", Fused::KvGroups},
                    {Role::O, "model.layers.{}.attention.wo.weight"},
                    {Role::PostNorm, "model.layers.{}.ffn_norm.weight"},
                    {Role::Gate, "model.layers.{}.feed_forward.w1.weight"},
                    {Role::Up, "model.layers.{}.feed_forward.w3.weight"},
                    {Role::Down, "model.layers.{}.feed_forward.w2.weight"},
                    {Role::FinalNorm, "model.norm.weight"},
                    {Role::LmHead, "output.weight"}})},
      {"Phi3ForCausalLM", phi3_spec,
       with_vision({{Role::EmbedTokens, "model.embed_tokens.weight"},
                    {Role::InputNorm, "model.layers.{}.input_layernorm.weight"},
                    {Role::Q, "model.layers.{}.self_attn.qkv_proj.weight", Fused::Blocks},
                    {Role::K, "model.layers.{}.self_attn.qkv_proj.weight", Fused::Blocks},
                    {Role::V, "model.layers.{}.self_attn.qkv_proj.weight", Fused::Blocks},
                    {Role::O, "model.layers.{}.self_attn.o_proj.weight"},
                    {Role::PostNorm, "model.layers.{}.post_attention_layernorm.weight"},
                    {Role::Gate, "model.layers.{}.mlp.gate_up_proj.weight", Fused::Blocks},
                    {Role::Up, "model.layers.{}.mlp.gate_up_proj.weight", Fused::Blocks},
                    {Role::Down, "model.layers.{}.mlp.down_proj.weight"},
                    {Role::FinalNorm, "model.norm.weight"},
                    {Role::LmHead, "lm_head.weight"}})},
      {"Qwen2ForCausalLM", qwen2_spec, with_vision(llama_names()), "language_model.model.", true},
      {"Qwen3ForCausalLM", qwen3_spec, with_vision(llama_names()), "language_model.model.", true},
  };
  return all;
}

std::string layout_name(const Language& language) { return "internvl2-" + language.architecture; }

const Language& language_of(const Json& config, const std::string& where) {
  const Json& names = get_array(config, "architectures", where);
  require(names.size() == 1 && names[0].is_string(), "{}: architectures: expected a list with one name, found {}",
          where, names.dump());
  const std::string name = names[0].get<std::string>();
  std::vector<std::string> known;
  for (const Language& language : languages()) {
    if (language.architecture == name) return language;
    known.push_back(language.architecture);
  }
  fail("{}: architectures: '{}' is not one we know inside InternVL2 ({}){}", where, name, fmt::join(known, ", "),
       did_you_mean(name, known));
}

/// Defaults are those of the published InternVisionConfig.
VisionSpec vision_spec(const Json& config, const std::string& where, int64_t select_layer) {
  VisionSpec defaults;
  defaults.hidden_size = 3200;
  defaults.intermediate_size = 12800;
  defaults.num_hidden_layers = 48;
  defaults.num_attention_heads = 25;
  defaults.image_size = 224;
  defaults.patch_size = 14;
  defaults.layer_norm_eps = 1e-6;
  defaults.hidden_act = Activation::Gelu;
  check_keys(config, vision_reader(), where);
  VisionSpec vision = read_square_vision(config, where, defaults);
  const std::string norm = get_string_or(config, "norm_type", where, "rms_norm");
  require(norm == "rms_norm" || norm == "layer_norm", "{}: norm_type: expected rms_norm or layer_norm, found {}{}",
          where, norm, did_you_mean(norm, {"rms_norm", "layer_norm"}));
  vision.norm = norm == "rms_norm" ? NormKind::Rms : NormKind::Layer;
  vision.pre_norm = false;
  vision.patch_bias = true;
  vision.qkv_bias = get_bool_or(config, "qkv_bias", where, false);
  vision.qk_norm = get_bool_or(config, "qk_normalization", where, true);
  vision.layer_scale = true;
  vision.taps = {{blocks_until(select_layer, vision.num_hidden_layers, "select_layer", where)}};
  return vision;
}

constexpr std::array<float, 3> kImageNetMean = {0.485f, 0.456f, 0.406f};
constexpr std::array<float, 3> kImageNetStd = {0.229f, 0.224f, 0.225f};

/// From config.json; the values published with the models (1 to 12 tiles and a thumbnail) where a key is absent.
/// pad2square changes something only without dynamic_image_size: tiles are square.
ImageSpec read_images(const Json& config, const std::string& where, const VisionSpec&) {
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  ImageSpec image;
  image.fit = ImageSpec::Fit::Tiles;
  image.mean = kImageNetMean;
  image.pad_color = {123, 116, 103};  // int(mean * 255)
  image.std = kImageNetStd;
  image.tile_size = 448;
  image.patch_size = 14;
  if (has(config, "vision_config")) {
    const Json& vision = get_object(config, "vision_config", where);
    const std::string place = where + ": vision_config";
    image.tile_size = get_int_or(vision, "image_size", place, 1, kLargestSide, 448);
    image.patch_size = get_int_or(vision, "patch_size", place, 1, kLargestSide, 14);
  }
  image.tile_size = get_int_or(config, "force_image_size", where, 1, kLargestSide, image.tile_size);
  require(image.tile_size % image.patch_size == 0, "{}: an image size of {} is no multiple of patch_size {}", where,
          image.tile_size, image.patch_size);
  const bool dynamic = get_bool_or(config, "dynamic_image_size", where, true);
  image.min_tiles = get_int_or(config, "min_dynamic_patch", where, 1, 4096, 1);
  image.max_tiles = get_int_or(config, "max_dynamic_patch", where, 1, 4096, 12);
  require(image.min_tiles <= image.max_tiles, "{}: min_dynamic_patch {} is above max_dynamic_patch {}", where,
          image.min_tiles, image.max_tiles);
  const bool pad = get_bool_or(config, "pad2square", where, false);
  image.thumbnail = get_bool_or(config, "use_thumbnail", where, true);
  if (!dynamic) {
    image.min_tiles = image.max_tiles = 1;
    image.pad_first = pad;
  }
  require(image.max_tiles <= kLargestImage / image.tile_size / image.tile_size,
          "{}: max_dynamic_patch: expected tiles of at most {} pixels in all, found {} of {} x {}", where,
          kLargestImage, image.max_tiles, image.tile_size, image.tile_size);
  return image;
}

ModelSpec read_config(const Json& config, const std::string& where) {
  ModelSpec spec;
  check_keys(config, root_reader(), where);
  const std::string text_where = where + ": llm_config", vision_where = where + ": vision_config";
  const Json& llm = get_object(config, "llm_config", where);
  const Language& language = language_of(llm, text_where);
  spec.layout = layout_name(language);
  spec.text = language.read(llm, text_where);
  if (!language.may_tie) spec.text.tie_word_embeddings = false;

  spec.vision = vision_spec(get_object(config, "vision_config", where), vision_where,
                            get_int_or(config, "select_layer", where, -4096, 4096, -1));
  const double ratio = get_number_or(config, "downsample_ratio", where, 0.5);
  require(ratio == 0.5 || ratio == 1.0, "{}: downsample_ratio: expected 0.5 or 1, found {}", where, ratio);
  spec.vision.merge_size = ratio == 0.5 ? 2 : 1;
  const std::string shuffle = get_string_or(config, "ps_version", where, "v1");
  require(shuffle == "v2", "{}: ps_version: expected v2 (InternVL2), found {}", where, shuffle);
  check_vision(spec.vision, vision_where);
  const int64_t side = get_int_or(config, "force_image_size", where, 1, 16384, spec.vision.image_size);
  require(
      side == spec.vision.image_size,
      "{}: force_image_size {} differs from the tower's image_size {}: resized position embeddings are not supported",
      where, side, spec.vision.image_size);
  spec.projector.norm = NormKind::Layer;
  spec.projector.norm_merged = true;
  spec.projector.inner_size = spec.text.hidden_size;
  spec.image = read_images(config, where, spec.vision);
  spec.image.patch_size = spec.vision.patch_size;
  spec.image_token_id = -1;
  spec.chat_template = get_string_or(config, "template", where, "");
  return spec;
}

void locate(const Checkpoint& checkpoint, ModelSpec& spec) {
  untie_stored_head(checkpoint, spec);
  const std::vector<TensorSlot> table = tensor_table(spec);
  spec.dtype = checkpoint.at(find_slot(table, Role::EmbedTokens).name).dtype;
  read_special_ids(checkpoint, spec);
  std::string stop = "<|im_end|>";  // of a template that is not known: it is refused where prompts are made
  for (const PromptTemplate& form : internvl2_family().templates)
    if (form.name == spec.chat_template) stop = form.stop;
  for (const AddedToken& token : read_tokenizer_config(checkpoint.folder(), "").added) {
    if (token.content == "<IMG_CONTEXT>") spec.image_token_id = token.id;
    if (token.content == stop && std::count(spec.eos_token_ids.begin(), spec.eos_token_ids.end(), token.id) == 0)
      spec.eos_token_ids.push_back(token.id);
  }
  require(spec.image_token_id < spec.text.vocab_size, "{}: <IMG_CONTEXT> has id {}, outside the vocabulary of {}",
          checkpoint.folder().string(), spec.image_token_id, spec.text.vocab_size);
}

/// What config.json's "template" names.
PromptTemplate choose_template(const fs::path& folder, const ModelSpec&) {
  const fs::path file = folder / "config.json";
  const std::string asked = get_string(read_json(file), "template", file.string());
  return template_named(internvl2_family().templates, asked,
                        fmt::format("{}: template '{}' is not known", file.string(), printable(asked)));
}

std::vector<PromptTemplate> prompt_templates() {
  const std::string text =
      "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。";
  // Separator style MPT: the separator ends every turn, and no newline follows it.
  const auto form = [&](const char* name, const std::string& sep, const std::string& system, const std::string& user,
                        const std::string& assistant) {
    return PromptTemplate{name, system + text + sep, user, sep + assistant, "<IMG_CONTEXT>", "<img>", "</img>", "\n",
                          sep};
  };
  return {
      form("internlm2-chat", "<|im_end|>", "<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"),
      form("phi3-chat", "<|end|>", "<|system|>\n", "<|user|>\n", "<|assistant|>\n"),
      form("Hermes-2", "<|im_end|>", "<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"),
      // Of InternVL2.5, whose 8B and 26B have the same classes, and of 3 and 3.5.
      {"internvl2_5",
       "<|im_start|>"
       "system\n你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模"
       "型。"
       "<|im_end|>\n",
       "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<IMG_CONTEXT>", "<img>", "</img>", "\n",
       "<|im_end|>"},
  };
}

std::vector<TensorLayout> layouts() {
  std::vector<TensorLayout> all;
  for (const Language& language : languages())
    all.push_back(
        {layout_name(language), language.names, language.decoder, "language_model.", "vision_model.", "mlp1."});
  return all;
}

}  // namespace

const Family& internvl2_family() {
  static const Family family = {
      .name = "internvl2",
      .architectures = {"InternVLChatModel"},
      .model_types = {"internvl_chat"},
      .text_key = "llm_config",
      .vision_key = "vision_config",
      .layouts = layouts(),
      .templates = prompt_templates(),
      .read_config = read_config,
      .locate = locate,
      .read_images = read_images,
      .choose_template = choose_template,
      .readers = {&root_reader(), &internlm2_reader(), &phi3_reader(), &qwen2_reader(), &qwen3_reader(),
                  &vision_reader()},
  };
  return family;
}

}  // namespace yopo
