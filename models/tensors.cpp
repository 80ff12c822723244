#include "models/tensors.h"

namespace yopo {

namespace {

void add_decoder(const ModelSpec& spec, std::vector<TensorSlot>& table) {
  const DecoderSpec& s = spec.text;
  const int64_t C = s.hidden_size, F = s.intermediate_size;
  const int64_t query_rows = s.num_attention_heads * s.head_dim, kv_rows = s.num_key_value_heads * s.head_dim;
  const std::string& p = spec.decoder_prefix;
  table.push_back({Role::EmbedTokens, -1, p + "embed_tokens.weight", {s.vocab_size, C}});
  for (int64_t l = 0; l < s.num_hidden_layers; ++l) {
    const std::string layer = fmt::format("{}layers.{}.", p, l);
    const std::string attention = layer + "self_attn.", mlp = layer + "mlp.";
    table.push_back({Role::InputNorm, l, layer + "input_layernorm.weight", {C}});
    table.push_back({Role::Q, l, attention + "q_proj.weight", {query_rows, C}, Axis::QueryHeads});
    table.push_back({Role::K, l, attention + "k_proj.weight", {kv_rows, C}, Axis::KeyValueHeads});
    table.push_back({Role::V, l, attention + "v_proj.weight", {kv_rows, C}, Axis::KeyValueHeads});
    if (s.attention_bias) {
      table.push_back({Role::QBias, l, attention + "q_proj.bias", {query_rows}, Axis::QueryHeads});
      table.push_back({Role::KBias, l, attention + "k_proj.bias", {kv_rows}, Axis::KeyValueHeads});
      table.push_back({Role::VBias, l, attention + "v_proj.bias", {kv_rows}, Axis::KeyValueHeads});
    }
    table.push_back({Role::O, l, attention + "o_proj.weight", {C, query_rows}, Axis::Fixed, Axis::QueryHeads});
    table.push_back({Role::PostNorm, l, layer + "post_attention_layernorm.weight", {C}});
    table.push_back({Role::Gate, l, mlp + "gate_proj.weight", {F, C}, Axis::Neurons});
    table.push_back({Role::Up, l, mlp + "up_proj.weight", {F, C}, Axis::Neurons});
    table.push_back({Role::Down, l, mlp + "down_proj.weight", {C, F}, Axis::Fixed, Axis::Neurons});
  }
  table.push_back({Role::FinalNorm, -1, p + "norm.weight", {C}});
  // A tied head is the embedding under its other role; checkpoints may or may not store it twice.
  const std::string head = s.tie_word_embeddings ? p + "embed_tokens.weight" : spec.head_prefix + "lm_head.weight";
  table.push_back({Role::LmHead, -1, head, {s.vocab_size, C}});
}

void add_vision(const ModelSpec& spec, std::vector<TensorSlot>& table) {
  const VisionSpec& v = spec.vision;
  const int64_t E = v.hidden_size, F = v.intermediate_size, P = v.patch_size;
  const std::string& p = spec.vision_prefix;
  table.push_back({Role::ClassEmbed, -1, p + "embeddings.class_embedding", {E}});
  table.push_back({Role::PatchEmbed, -1, p + "embeddings.patch_embedding.weight", {E, 3, P, P}});
  table.push_back({Role::PositionEmbed, -1, p + "embeddings.position_embedding.weight", {v.positions(), E}});
  table.push_back({Role::PreNorm, -1, p + "pre_layrnorm.weight", {E}});  // spelt so in every CLIP checkpoint
  table.push_back({Role::PreNormBias, -1, p + "pre_layrnorm.bias", {E}});
  for (int64_t l = 0; l < v.layers_run; ++l) {
    const std::string layer = fmt::format("{}encoder.layers.{}.", p, l);
    const auto pair = [&](Role weight, Role bias, const std::string& name, std::vector<int64_t> shape) {
      table.push_back({weight, l, layer + name + ".weight", shape});
      table.push_back({bias, l, layer + name + ".bias", {shape[0]}});
    };
    pair(Role::Norm1, Role::Norm1Bias, "layer_norm1", {E});
    pair(Role::VisionQ, Role::VisionQBias, "self_attn.q_proj", {E, E});
    pair(Role::VisionK, Role::VisionKBias, "self_attn.k_proj", {E, E});
    pair(Role::VisionV, Role::VisionVBias, "self_attn.v_proj", {E, E});
    pair(Role::VisionO, Role::VisionOBias, "self_attn.out_proj", {E, E});
    pair(Role::Norm2, Role::Norm2Bias, "layer_norm2", {E});
    pair(Role::Fc1, Role::Fc1Bias, "mlp.fc1", {F, E});
    pair(Role::Fc2, Role::Fc2Bias, "mlp.fc2", {E, F});
  }
}

void add_projector(const ModelSpec& spec, std::vector<TensorSlot>& table) {
  const int64_t C = spec.text.hidden_size, E = spec.vision.hidden_size;
  const bool original = spec.layout == "llava-original";
  const std::string first = spec.projector_prefix + (original ? "0" : "linear_1");
  const std::string second = spec.projector_prefix + (original ? "2" : "linear_2");
  table.push_back({Role::Project1, -1, first + ".weight", {C, E}});
  if (spec.projector.bias) table.push_back({Role::Project1Bias, -1, first + ".bias", {C}});
  table.push_back({Role::Project2, -1, second + ".weight", {C, C}});
  if (spec.projector.bias) table.push_back({Role::Project2Bias, -1, second + ".bias", {C}});
}

}  // namespace

std::vector<TensorSlot> tensor_table(const ModelSpec& spec) {
  std::vector<TensorSlot> table;
  add_decoder(spec, table);
  add_vision(spec, table);
  add_projector(spec, table);
  return table;
}

const TensorSlot& find_slot(const std::vector<TensorSlot>& table, Role role, int64_t layer) {
  for (const TensorSlot& slot : table)
    if (slot.role == role && slot.layer == layer) return slot;
  throw InternalError(fmt::format("the tensor table has no role {} in layer {}", int(role), layer));
}

void check_tensors(const Checkpoint& checkpoint, const std::vector<TensorSlot>& table) {
  for (const TensorSlot& slot : table) {
    const TensorView& view = checkpoint.at(slot.name, slot.shape);
    const bool floating = view.dtype == DType::F32 || view.dtype == DType::F16 || view.dtype == DType::BF16;
    require(floating, "{}: tensor {}: expected F32, F16 or BF16, found {}", checkpoint.folder().string(), slot.name,
            safetensors_name(view.dtype));
  }
}

}  // namespace yopo
