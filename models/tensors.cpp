#include "models/tensors.h"

#include <algorithm>
#include <set>

namespace yopo {

namespace {

/// Fills the table in order. A role's shape follows from the spec; its name and place from the layout.
class Builder {
 public:
  explicit Builder(const ModelSpec& spec) : spec_(spec) { ensure(spec.names, "a spec with its layout's names"); }

  void add(const std::string& prefix, int64_t layer, Role role, std::vector<int64_t> shape, Axis rows = Axis::Fixed,
           Axis columns = Axis::Fixed) {
    const TensorName& name = named(role);
    TensorSlot slot{role, layer, prefix + with_layer(name.name, layer), std::move(shape), rows, columns, {}, {}};
    slot.stored.assign(size_t(name.leading_ones), 1);
    slot.stored.insert(slot.stored.end(), slot.shape.begin(), slot.shape.end());
    table_.push_back(std::move(slot));
  }
  /// Roles that one product could compute together: one stored tensor where the layout has it so.
  void add_together(const std::string& prefix, int64_t layer, const std::vector<std::pair<Role, Axis>>& roles,
                    const std::vector<int64_t>& rows, const std::vector<int64_t>& rest, int64_t kv_heads) {
    const size_t first = table_.size();
    int64_t all = 0;
    for (size_t i = 0; i < roles.size(); ++i) {
      std::vector<int64_t> shape{rows[i]};
      shape.insert(shape.end(), rest.begin(), rest.end());
      add(prefix, layer, roles[i].first, std::move(shape), roles[i].second);
      all += rows[i];
    }
    const Fused fused = named(roles[0].first).fused;
    if (fused == Fused::No) return;
    int64_t before = 0;
    for (size_t i = 0; i < roles.size(); ++i) {
      TensorSlot& slot = table_[first + i];
      slot.stored[0] = all;
      if (fused == Fused::Blocks) {
        slot.part = {before, rows[i], all};
        before += rows[i];
      } else {
        slot.part = {before, rows[i] / kv_heads, all / kv_heads};
        before += rows[i] / kv_heads;
      }
    }
  }
  std::vector<TensorSlot> take() { return std::move(table_); }

 private:
  const TensorName& named(Role role) const {
    for (const TensorName& name : *spec_.names)
      if (name.role == role) return name;
    throw InternalError(fmt::format("layout {} has no name for role {}", spec_.layout, int(role)));
  }
  static std::string with_layer(std::string name, int64_t layer) {
    if (const size_t at = name.find("{}"); at != std::string::npos) name.replace(at, 2, std::to_string(layer));
    return name;
  }
  const ModelSpec& spec_;
  std::vector<TensorSlot> table_;
};

void add_decoder(const ModelSpec& spec, Builder& to) {
  const DecoderSpec& s = spec.text;
  const int64_t C = s.hidden_size, F = s.intermediate_size, KV = s.num_key_value_heads;
  const int64_t query_rows = s.num_attention_heads * s.head_dim, kv_rows = KV * s.head_dim;
  const std::string& p = spec.decoder_prefix;
  to.add(p, -1, Role::EmbedTokens, {s.vocab_size, C});
  for (int64_t l = 0; l < s.num_hidden_layers; ++l) {
    to.add(p, l, Role::InputNorm, {C});
    to.add_together(p, l, {{Role::Q, Axis::QueryHeads}, {Role::K, Axis::KeyValueHeads}, {Role::V, Axis::KeyValueHeads}},
                    {query_rows, kv_rows, kv_rows}, {C}, KV);
    if (s.attention_bias)
      to.add_together(
          p, l,
          {{Role::QBias, Axis::QueryHeads}, {Role::KBias, Axis::KeyValueHeads}, {Role::VBias, Axis::KeyValueHeads}},
          {query_rows, kv_rows, kv_rows}, {}, KV);
    to.add(p, l, Role::O, {C, query_rows}, Axis::Fixed, Axis::QueryHeads);
    to.add(p, l, Role::PostNorm, {C});
    to.add_together(p, l, {{Role::Gate, Axis::Neurons}, {Role::Up, Axis::Neurons}}, {F, F}, {C}, 1);
    to.add(p, l, Role::Down, {C, F}, Axis::Fixed, Axis::Neurons);
  }
  to.add(p, -1, Role::FinalNorm, {C});
  if (!s.tie_word_embeddings) to.add(spec.head_prefix, -1, Role::LmHead, {s.vocab_size, C});
}

void add_vision(const ModelSpec& spec, Builder& to) {
  const VisionSpec& v = spec.vision;
  const int64_t E = v.hidden_size, F = v.intermediate_size, P = v.patch_size;
  const std::string& p = spec.vision_prefix;
  const auto pair = [&](int64_t layer, Role weight, Role bias, const std::vector<int64_t>& shape,
                        bool with_bias = true) {
    to.add(p, layer, weight, shape);
    if (with_bias) to.add(p, layer, bias, {shape[0]});
  };
  if (v.learned_positions) to.add(p, -1, Role::ClassEmbed, {E});
  to.add(p, -1, Role::PatchEmbed,
         v.temporal_patch_size > 1 ? std::vector<int64_t>{E, 3, v.temporal_patch_size, P, P}
                                   : std::vector<int64_t>{E, 3, P, P});
  if (v.patch_bias) to.add(p, -1, Role::PatchBias, {E});
  if (v.learned_positions) to.add(p, -1, Role::PositionEmbed, {v.positions(v.grid() * v.grid()), E});
  if (v.pre_norm) pair(-1, Role::PreNorm, Role::PreNormBias, {E});
  const bool norm_bias = v.norm == NormKind::Layer;
  for (int64_t l = 0; l < v.layers_run; ++l) {
    pair(l, Role::Norm1, Role::Norm1Bias, {E}, norm_bias);
    const Axis f = Axis::Fixed;
    to.add_together(p, l, {{Role::VisionQ, f}, {Role::VisionK, f}, {Role::VisionV, f}}, {E, E, E}, {E}, 1);
    if (v.qkv_bias)
      to.add_together(p, l, {{Role::VisionQBias, f}, {Role::VisionKBias, f}, {Role::VisionVBias, f}}, {E, E, E}, {}, 1);
    if (v.qk_norm) {
      to.add(p, l, Role::QNorm, {E});
      to.add(p, l, Role::KNorm, {E});
    }
    pair(l, Role::VisionO, Role::VisionOBias, {E, E});
    if (v.layer_scale) to.add(p, l, Role::Scale1, {E});
    pair(l, Role::Norm2, Role::Norm2Bias, {E}, norm_bias);
    pair(l, Role::Fc1, Role::Fc1Bias, {F, E});
    pair(l, Role::Fc2, Role::Fc2Bias, {E, F});
    if (v.layer_scale) to.add(p, l, Role::Scale2, {E});
  }
}

void add_projector(const ModelSpec& spec, Builder& to) {
  const ProjectorSpec& s = spec.projector;
  const int64_t C = spec.text.hidden_size, E = spec.vision.hidden_size;
  const int64_t joined = spec.vision.merge_size * spec.vision.merge_size * E;
  const std::string& p = spec.projector_prefix;
  if (s.norm_patches || s.norm_merged) {
    to.add(p, -1, Role::ProjectNorm, {s.norm_merged ? joined : E});
    to.add(p, -1, Role::ProjectNormBias, {s.norm_merged ? joined : E});
  }
  to.add(p, -1, Role::Project1, {s.inner_size, joined});
  if (s.bias) to.add(p, -1, Role::Project1Bias, {s.inner_size});
  to.add(p, -1, Role::Project2, {C, s.inner_size});
  if (s.bias) to.add(p, -1, Role::Project2Bias, {C});
}

}  // namespace

std::vector<TensorSlot> tensor_table(const ModelSpec& spec) {
  Builder table(spec);
  add_decoder(spec, table);
  add_vision(spec, table);
  add_projector(spec, table);
  std::vector<TensorSlot> slots = table.take();
  if (spec.text.tie_word_embeddings) {  // the embedding under its other role; a checkpoint may store it twice or not
    slots.push_back(find_slot(slots, Role::EmbedTokens));
    slots.back().role = Role::LmHead;
  }
  return slots;
}

const TensorSlot& find_slot(const std::vector<TensorSlot>& table, Role role, int64_t layer) {
  for (const TensorSlot& slot : table)
    if (slot.role == role && slot.layer == layer) return slot;
  throw InternalError(fmt::format("the tensor table has no role {} in layer {}", int(role), layer));
}

std::vector<StoredTensor> stored_tensors(const ModelSpec& spec) {
  std::vector<StoredTensor> stored;
  std::set<std::string> seen;
  for (const TensorSlot& slot : tensor_table(spec))
    if (seen.insert(slot.name).second) stored.push_back({slot.name, slot.stored, slot.role});
  return stored;
}

void check_tensors(const Checkpoint& checkpoint, const std::vector<TensorSlot>& table) {
  for (const TensorSlot& slot : table) {
    const TensorView& view = checkpoint.at(slot.name, slot.stored);
    const bool floating = view.dtype == DType::F32 || view.dtype == DType::F16 || view.dtype == DType::BF16;
    require(floating, "{}: tensor {}: expected F32, F16 or BF16, found {}", checkpoint.folder().string(), slot.name,
            safetensors_name(view.dtype));
  }
}

}  // namespace yopo
