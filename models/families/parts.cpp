#include "models/families/parts.h"

#include "models/families/common_keys.h"

namespace yopo {

Activation activation_of(const std::string& name, const std::string& where) {
  if (name == "silu") return Activation::Silu;
  if (name == "gelu") return Activation::Gelu;
  if (name == "quick_gelu") return Activation::QuickGelu;
  if (name == "gelu_pytorch_tanh") return Activation::GeluTanh;
  fail("{}: activation '{}' is not one we know (silu, gelu, quick_gelu, gelu_pytorch_tanh){}", where, name,
       did_you_mean(name, {"silu", "gelu", "quick_gelu", "gelu_pytorch_tanh"}));
}

std::vector<TensorName> llama_names() {
  return {{Role::EmbedTokens, "embed_tokens.weight"},
          {Role::InputNorm, "layers.{}.input_layernorm.weight"},
          {Role::Q, "layers.{}.self_attn.q_proj.weight"},
          {Role::K, "layers.{}.self_attn.k_proj.weight"},
          {Role::V, "layers.{}.self_attn.v_proj.weight"},
          {Role::QBias, "layers.{}.self_attn.q_proj.bias"},
          {Role::KBias, "layers.{}.self_attn.k_proj.bias"},
          {Role::VBias, "layers.{}.self_attn.v_proj.bias"},
          {Role::HeadQNorm, "layers.{}.self_attn.q_norm.weight"},
          {Role::HeadKNorm, "layers.{}.self_attn.k_norm.weight"},
          {Role::O, "layers.{}.self_attn.o_proj.weight"},
          {Role::OBias, "layers.{}.self_attn.o_proj.bias"},
          {Role::PostNorm, "layers.{}.post_attention_layernorm.weight"},
          {Role::Gate, "layers.{}.mlp.gate_proj.weight"},
          {Role::Up, "layers.{}.mlp.up_proj.weight"},
          {Role::Down, "layers.{}.mlp.down_proj.weight"},
          {Role::FinalNorm, "norm.weight"},
          {Role::LmHead, "lm_head.weight"}};
}

DecoderSpec read_decoder(const Json& config, const std::string& where, const DecoderSpec& defaults, RopeAxes axes) {
  DecoderSpec text = defaults;
  text.num_hidden_layers = get_int_or(config, "num_hidden_layers", where, 1, 4096, defaults.num_hidden_layers);
  text.hidden_size = get_int_or(config, "hidden_size", where, 1, kMaxSize, defaults.hidden_size);
  text.num_attention_heads = get_int_or(config, "num_attention_heads", where, 1, 4096, defaults.num_attention_heads);
  text.num_key_value_heads = get_int_or(config, "num_key_value_heads", where, 1, 4096, text.num_attention_heads);
  require(text.num_attention_heads % text.num_key_value_heads == 0,
          "{}: num_attention_heads {} is no multiple of num_key_value_heads {}", where, text.num_attention_heads,
          text.num_key_value_heads);
  const bool stated = has(config, "head_dim") || defaults.head_dim > 0;
  if (!stated)
    require(text.hidden_size % text.num_attention_heads == 0,
            "{}: hidden_size {} is no multiple of num_attention_heads {}", where, text.hidden_size,
            text.num_attention_heads);
  text.head_dim = get_int_or(config, "head_dim", where, 2, 4096,
                             defaults.head_dim > 0 ? defaults.head_dim : text.hidden_size / text.num_attention_heads);
  require(text.head_dim % 2 == 0, "{}: head_dim {} is odd; rotary embedding needs pairs", where, text.head_dim);
  text.intermediate_size = get_int_or(config, "intermediate_size", where, 1, kMaxSize, defaults.intermediate_size);
  text.vocab_size = get_int_or(config, "vocab_size", where, 1, int64_t(1) << 24, defaults.vocab_size);
  text.max_position_embeddings =
      get_int_or(config, "max_position_embeddings", where, 1, int64_t(1) << 40, defaults.max_position_embeddings);
  text.rms_norm_eps = get_number_or(config, "rms_norm_eps", where, defaults.rms_norm_eps);
  require(text.rms_norm_eps > 0 && text.rms_norm_eps < 1, "{}: rms_norm_eps {} lies outside (0, 1)", where,
          text.rms_norm_eps);
  text.tie_word_embeddings = get_bool_or(config, "tie_word_embeddings", where, defaults.tie_word_embeddings);
  read_rope(config, where, axes, text);
  const std::string act = get_string_or(config, "hidden_act", where, "silu");
  require(activation_of(act, where) == Activation::Silu, "{}: hidden_act: expected silu, found {}", where, act);
  return text;
}

VisionSpec read_square_vision(const Json& config, const std::string& where, const VisionSpec& defaults) {
  VisionSpec vision = defaults;
  vision.hidden_size = get_int_or(config, "hidden_size", where, 1, kMaxSize, defaults.hidden_size);
  vision.intermediate_size = get_int_or(config, "intermediate_size", where, 1, kMaxSize, defaults.intermediate_size);
  vision.num_hidden_layers = get_int_or(config, "num_hidden_layers", where, 1, 4096, defaults.num_hidden_layers);
  vision.num_attention_heads = get_int_or(config, "num_attention_heads", where, 1, 4096, defaults.num_attention_heads);
  vision.image_size = get_int_or(config, "image_size", where, 1, 16384, defaults.image_size);
  vision.patch_size = get_int_or(config, "patch_size", where, 1, vision.image_size, defaults.patch_size);
  vision.layer_norm_eps = get_number_or(config, "layer_norm_eps", where, defaults.layer_norm_eps);
  if (has(config, "hidden_act")) vision.hidden_act = activation_of(get_string(config, "hidden_act", where), where);
  return vision;
}

int64_t blocks_until(int64_t layer, int64_t blocks, const std::string& key, const std::string& where) {
  const int64_t states = blocks + 1, index = layer < 0 ? states + layer : layer;
  require(index >= 0 && index < states, "{}: {} {} of a tower with {} layers", where, key, layer, blocks);
  return index;
}

int64_t read_image_token(const Json& config, const std::string& key, const std::string& where, int64_t vocab_size,
                         int64_t default_id) {
  const int64_t id = get_int_or(config, key, where, 0, vocab_size - 1, default_id);
  require(id < vocab_size, "{}: {} {} lies outside the vocabulary of {}", where, key, id, vocab_size);
  return id;
}

void check_vision(const VisionSpec& vision, const std::string& where) {
  require(vision.hidden_size % vision.num_attention_heads == 0, "{}: width {} is no multiple of the {} heads", where,
          vision.hidden_size, vision.num_attention_heads);
  if (vision.rotary)
    require(vision.head_dim() % 4 == 0,
            "{}: head size {} is no multiple of 4; rotary embedding by row and column needs that", where,
            vision.head_dim());
  const int64_t unit = vision.patch_size * vision.merge_size;
  require(vision.image_size % unit == 0, "{}: image_size {} is no multiple of {}{}", where, vision.image_size,
          vision.merge_size > 1 ? "patch size times merge size, " : "patch_size ", unit);
  require(vision.layer_norm_eps > 0 && vision.layer_norm_eps < 1, "{}: layer_norm_eps {} lies outside (0, 1)", where,
          vision.layer_norm_eps);
}

void untie_stored_head(const Checkpoint& checkpoint, ModelSpec& spec) {
  if (!spec.text.tie_word_embeddings) return;
  const TensorLayout& layout = layout_of(spec);
  for (const TensorName& name : layout.names)
    if (name.role == Role::LmHead && checkpoint.contains(layout.head + name.name))
      spec.text.tie_word_embeddings = false;
}

void read_special_ids(const Checkpoint& checkpoint, ModelSpec& spec) {
  const std::string& text_key = family_of(spec).text_key;
  const auto ids_of = [&](const Json& config, const std::string& where, const char* key,
                          std::vector<int64_t> fallback) {
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
  const Json text = has(config, text_key) ? config[text_key] : Json::object();
  const fs::path generation = checkpoint.folder() / "generation_config.json";
  const Json generate = fs::exists(generation) ? read_json(generation) : Json::object();
  check_keys(generate, generation_reader(), generation.string());
  spec.eos_token_ids = ids_of(text, where, "eos_token_id", {2});
  spec.eos_token_ids = ids_of(config, where, "eos_token_id", spec.eos_token_ids);
  spec.eos_token_ids = ids_of(generate, generation.string(), "eos_token_id", spec.eos_token_ids);
  const auto one = [&](const char* key, int64_t fallback) {
    const std::vector<int64_t> ids = ids_of(config, where, key, ids_of(text, where, key, {fallback}));
    return ids.empty() ? fallback : ids.front();
  };
  spec.bos_token_id = one("bos_token_id", 1);
  spec.pad_token_id = one("pad_token_id", 0);
}

}  // namespace yopo
