#include "reference/weights.h"

#include <algorithm>
#include <map>

#include <ATen/ATen.h>

#include "core/error.h"
#include "models/patches.h"

namespace yopo {

namespace {

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::F64:
      return at::kDouble;
    case DType::F32:
      return at::kFloat;
    case DType::F16:
      return at::kHalf;
    case DType::BF16:
      return at::kBFloat16;
    default:
      throw InternalError("a weight of a type that is no float");
  }
}

// The tensor where it lies in the file. The deleter holds the mapping.
at::Tensor tensor_of(const TensorView& view) {
  void* data = const_cast<std::byte*>(view.bytes.data());
  return at::from_blob(
      data, view.shape, [file = view.file](void*) {}, at::TensorOptions(scalar_type(view.dtype)));
}

// The role's own rows of a stored tensor, in the role's shape.
at::Tensor rows_of(const at::Tensor& stored, const TensorSlot& slot) {
  const RowPart& part = slot.part;
  if (part.whole()) return stored.view(slot.shape);
  const at::Tensor groups = stored.unflatten(0, {stored.size(0) / part.stride, part.stride});
  return groups.slice(1, part.first, part.first + part.run).reshape(slot.shape);
}

bool is_vision_layer(Role role) { return role >= Role::Norm1 && role <= Role::Fc2Bias; }

}  // namespace

WeightSource::WeightSource(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype)
    : checkpoint_(checkpoint), spec_(spec), table_(tensor_table(spec)), dtype_(dtype) {
  check_tensors(checkpoint, table_);
}

at::Tensor WeightSource::get(Role role, int64_t layer) const {
  const TensorSlot& slot = find_slot(table_, role, layer);
  const at::Tensor stored = tensor_of(checkpoint_.at(slot.name, slot.stored));
  return role == Role::EmbedTokens ? stored : rows_of(stored, slot).to(dtype_);
}

at::Tensor WeightSource::get_if(bool there, Role role, int64_t layer) const {
  return there ? get(role, layer) : at::Tensor();
}

TorchWeights WeightSource::ends() const {
  TorchWeights to;
  to.decoder.embed = get(Role::EmbedTokens);
  to.decoder.head = spec_.text.tie_word_embeddings ? to.decoder.embed.to(dtype_) : get(Role::LmHead);
  to.decoder.norm = get(Role::FinalNorm);

  const VisionSpec& vision = spec_.vision;
  to.vision.patch = get(Role::PatchEmbed).flatten(1);
  to.vision.patch_bias = get_if(vision.patch_bias, Role::PatchBias);
  if (vision.learned_positions) {
    const std::vector<int64_t> order = position_order(vision);
    to.vision.class_embed = get(Role::ClassEmbed);
    to.vision.positions = get(Role::PositionEmbed).index_select(0, at::tensor(at::ArrayRef<int64_t>(order), at::kLong));
  }
  to.vision.pre_norm = get_if(vision.pre_norm, Role::PreNorm);
  to.vision.pre_norm_bias = get_if(vision.pre_norm, Role::PreNormBias);

  const ProjectorSpec& projector = spec_.projector;
  const bool norm = projector.norm_patches || projector.norm_merged;
  to.projector.norm = get_if(norm, Role::ProjectNorm);
  to.projector.norm_bias = get_if(norm, Role::ProjectNormBias);
  to.projector.first = get(Role::Project1);
  to.projector.second = get(Role::Project2);
  to.projector.first_bias = get_if(projector.bias, Role::Project1Bias);
  to.projector.second_bias = get_if(projector.bias, Role::Project2Bias);
  return to;
}

LayerWeights WeightSource::decoder_layer(int64_t l) const {
  const bool bias = spec_.text.attention_bias;
  LayerWeights layer;
  layer.input_norm = get(Role::InputNorm, l);
  layer.post_norm = get(Role::PostNorm, l);
  layer.q = get(Role::Q, l);
  layer.k = get(Role::K, l);
  layer.v = get(Role::V, l);
  layer.q_bias = get_if(bias, Role::QBias, l);
  layer.k_bias = get_if(bias, Role::KBias, l);
  layer.v_bias = get_if(bias, Role::VBias, l);
  layer.o = get(Role::O, l);
  layer.gate = get(Role::Gate, l);
  layer.up = get(Role::Up, l);
  layer.down = get(Role::Down, l);
  return layer;
}

VisionLayerWeights WeightSource::vision_layer(int64_t l) const {
  const VisionSpec& spec = spec_.vision;
  const bool norm_bias = spec.norm == NormKind::Layer;
  VisionLayerWeights layer;
  layer.norm1 = get(Role::Norm1, l);
  layer.norm1_bias = get_if(norm_bias, Role::Norm1Bias, l);
  layer.norm2 = get(Role::Norm2, l);
  layer.norm2_bias = get_if(norm_bias, Role::Norm2Bias, l);
  layer.q = get(Role::VisionQ, l);
  layer.k = get(Role::VisionK, l);
  layer.v = get(Role::VisionV, l);
  layer.o = get(Role::VisionO, l);
  layer.q_bias = get_if(spec.qkv_bias, Role::VisionQBias, l);
  layer.k_bias = get_if(spec.qkv_bias, Role::VisionKBias, l);
  layer.v_bias = get_if(spec.qkv_bias, Role::VisionVBias, l);
  layer.o_bias = get(Role::VisionOBias, l);
  layer.q_norm = get_if(spec.qk_norm, Role::QNorm, l);
  layer.k_norm = get_if(spec.qk_norm, Role::KNorm, l);
  layer.scale1 = get_if(spec.layer_scale, Role::Scale1, l);
  layer.scale2 = get_if(spec.layer_scale, Role::Scale2, l);
  layer.fc1 = get(Role::Fc1, l);
  layer.fc1_bias = get(Role::Fc1Bias, l);
  layer.fc2 = get(Role::Fc2, l);
  layer.fc2_bias = get(Role::Fc2Bias, l);
  return layer;
}

void WeightSource::drop(int64_t layer, bool vision) const {
  for (const TensorSlot& slot : table_) {
    if (slot.layer != layer || is_vision_layer(slot.role) != vision) continue;
    const TensorView& view = checkpoint_.at(slot.name);
    if (view.file) view.file->drop(size_t(view.bytes.data() - view.file->bytes().data()), view.bytes.size());
  }
}

WeightSource::Bytes WeightSource::bytes() const {
  Bytes bytes;
  std::map<std::pair<bool, int64_t>, int64_t> layers;
  for (const TensorSlot& slot : table_) {
    if (slot.role == Role::LmHead && spec_.text.tie_word_embeddings) continue;
    const int64_t own = element_count(slot.shape, slot.name) * int64_t(at::elementSize(dtype_));
    bytes.all += own;
    if (slot.layer >= 0)
      layers[{is_vision_layer(slot.role), slot.layer}] += own;
    else if (slot.role != Role::EmbedTokens)
      bytes.ends += own;
  }
  for (const auto& [layer, own] : layers) bytes.largest_layer = std::max(bytes.largest_layer, own);
  return bytes;
}

TorchWeights load_weights(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype) {
  const WeightSource from(checkpoint, spec, dtype);
  TorchWeights weights = from.ends();
  for (int64_t l = 0; l < spec.text.num_hidden_layers; ++l) weights.decoder.layers.push_back(from.decoder_layer(l));
  for (int64_t l = 0; l < spec.vision.layers_run; ++l) weights.vision.layers.push_back(from.vision_layer(l));
  return weights;
}

}  // namespace yopo
