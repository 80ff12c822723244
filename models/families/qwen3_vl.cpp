// Qwen3-VL, dense: Qwen3 with interleaved M-RoPE; a tower with positions interpolated in a table besides its rotary
// embedding, whose earlier features join the visual rows behind the first decoder layers (deepstack).
#include "models/families/qwen_parts.h"

namespace yopo {

const Family& qwen3_vl_family();

namespace {

std::vector<TensorName> tensor_names() {
  std::vector<TensorName> all = llama_names();
  const std::vector<TensorName> vision = {{Role::PatchEmbed, "patch_embed.proj.weight"},
                                          {Role::PatchBias, "patch_embed.proj.bias"},
                                          {Role::PositionEmbed, "pos_embed.weight"},
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
                                          {Role::Fc1, "blocks.{}.mlp.linear_fc1.weight"},
                                          {Role::Fc1Bias, "blocks.{}.mlp.linear_fc1.bias"},
                                          {Role::Fc2, "blocks.{}.mlp.linear_fc2.weight"},
                                          {Role::Fc2Bias, "blocks.{}.mlp.linear_fc2.bias"},
                                          {Role::ProjectNorm, "norm.weight"},
                                          {Role::ProjectNormBias, "norm.bias"},
                                          {Role::Project1, "linear_fc1.weight"},
                                          {Role::Project1Bias, "linear_fc1.bias"},
                                          {Role::Project2, "linear_fc2.weight"},
                                          {Role::Project2Bias, "linear_fc2.bias"},
                                          {Role::TapNorm, "deepstack_merger_list.{}.norm.weight"},
                                          {Role::TapNormBias, "deepstack_merger_list.{}.norm.bias"},
                                          {Role::TapProject1, "deepstack_merger_list.{}.linear_fc1.weight"},
                                          {Role::TapProject1Bias, "deepstack_merger_list.{}.linear_fc1.bias"},
                                          {Role::TapProject2, "deepstack_merger_list.{}.linear_fc2.weight"},
                                          {Role::TapProject2Bias, "deepstack_merger_list.{}.linear_fc2.bias"}};
  all.insert(all.end(), vision.begin(), vision.end());
  return all;
}

const KeyReader& root_reader() {
  static const KeyReader reader = {"Qwen3-VL's config.json", qwen_root_keys(false)};
  return reader;
}

const KeyReader& text_reader() {
  static const KeyReader reader = {"Qwen3-VL's text_config", joined({qwen_text_keys(), read_keys({"attention_bias"})})};
  return reader;
}

const KeyReader& vision_reader() {
  static const KeyReader reader = {
      "Qwen3-VL's vision_config",
      joined({qwen_vision_keys(), read_keys({"intermediate_size", "out_hidden_size", "num_position_embeddings",
                                             "deepstack_visual_indexes"})})};
  return reader;
}

const KeyReader& image_reader() {
  static const KeyReader reader = {"Qwen3-VL's image processor", qwen_image_keys()};
  return reader;
}

DecoderSpec text_defaults() {
  DecoderSpec defaults;  // transformers' Qwen3VLTextConfig
  defaults.num_hidden_layers = 32;
  defaults.hidden_size = 4096;
  defaults.num_attention_heads = 32;
  defaults.head_dim = 128;
  defaults.intermediate_size = 22016;
  defaults.vocab_size = 151936;
  defaults.max_position_embeddings = 128000;
  defaults.rms_norm_eps = 1e-6;
  defaults.rope.theta = 5e6;
  defaults.rope.interleaved = true;
  return defaults;
}

/// The taps into the embeddings and behind the first decoder layers.
std::vector<Tap> taps_of(const Json& config, const std::string& where, int64_t blocks) {
  std::vector<Tap> taps = {{blocks}};
  std::vector<int64_t> indexes = {8, 16, 24};
  if (has(config, "deepstack_visual_indexes")) {
    indexes.clear();
    for (const Json& index : get_array(config, "deepstack_visual_indexes", where)) {
      require(index.is_number_integer() && index.get<int64_t>() >= 0 && index.get<int64_t>() < 4096,
              "{}: deepstack_visual_indexes: expected numbers of blocks, found {}", where, printable(index.dump()));
      indexes.push_back(index.get<int64_t>());
    }
  }
  for (const int64_t index : indexes) {
    require(index < blocks, "{}: deepstack_visual_indexes: expected blocks below {} (depth), found {}", where, blocks,
            index);
    require(taps.size() == 1 || index >= taps.back().tower_blocks,
            "{}: deepstack_visual_indexes: expected ascending numbers, found {} behind {}", where, index,
            taps.back().tower_blocks - 1);
    const auto next = int64_t(taps.size());
    taps.push_back({index + 1, next, next});
  }
  return taps;
}

/// Defaults are those of transformers' Qwen3VLVisionConfig. `hidden_size` is the tower's width, `out_hidden_size` the
/// decoder's.
VisionSpec vision_spec(const Json& config, const std::string& where, const DecoderSpec& text) {
  check_keys(config, vision_reader(), where);
  VisionSpec defaults;
  defaults.num_hidden_layers = 27;
  defaults.num_attention_heads = 16;
  defaults.patch_size = 16;
  defaults.hidden_act = Activation::GeluTanh;
  VisionSpec vision = read_qwen_vision(config, where, defaults);
  vision.hidden_size = get_int_or(config, "hidden_size", where, 1, kMaxSize, 1152);
  vision.intermediate_size = get_int_or(config, "intermediate_size", where, 1, kMaxSize, 4304);
  vision.patch_bias = true;
  const int64_t places = get_int_or(config, "num_position_embeddings", where, 1, kMaxSize, 2304);
  while (vision.table_side * vision.table_side < places) ++vision.table_side;
  require(vision.table_side * vision.table_side == places,
          "{}: num_position_embeddings: expected a square number, found {}", where, places);
  vision.taps = taps_of(config, where, vision.num_hidden_layers);
  require(int64_t(vision.taps.size()) - 1 <= text.num_hidden_layers,
          "{}: deepstack_visual_indexes: {} features for the {} layers of the language model", where,
          vision.taps.size() - 1, text.num_hidden_layers);
  check_tower_output(config, "out_hidden_size", where, text.hidden_size, 3584);
  check_vision(vision, where);
  return vision;
}

ImageSpec read_images(const Json& config, const std::string& where, const VisionSpec& vision) {
  return read_qwen_images(config, where, vision, image_reader(),
                          {65'536, 16'777'216, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}});
}

ModelSpec read_config(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.layout = "qwen3-vl";
  const Json& text = get_object(config, "text_config", where);
  read_qwen_root(config, where, root_reader(), text_reader(), text_defaults(), spec);
  spec.text.qk_norm = true;
  spec.text.attention_bias = spec.text.output_bias =
      get_bool_or(text, "attention_bias", where + ": text_config", false);
  spec.vision = vision_spec(get_object(config, "vision_config", where), where + ": vision_config", spec.text);
  spec.projector = spec.tap_projector = qwen_projector(spec.vision, NormKind::Layer);
  spec.tap_projector.norm_merged = true;
  return spec;
}

void locate(const Checkpoint& checkpoint, ModelSpec& spec) {
  locate_qwen(checkpoint, "the rules published with Qwen3-VL", spec);
}

PromptTemplate choose_template(const fs::path& folder, const ModelSpec&) {
  return own_template(qwen3_vl_family().templates, folder, "chatml");
}

}  // namespace

const Family& qwen3_vl_family() {
  static const std::vector<TensorName> names = tensor_names();
  static const Family family = {
      .name = "qwen3_vl",
      .architectures = {"Qwen3VLForConditionalGeneration"},
      .model_types = {"qwen3_vl"},
      .text_key = "text_config",
      .vision_key = "vision_config",
      .layouts = {{"qwen3-vl", names, "model.language_model.", "", "model.visual.", "model.visual.merger."}},
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
