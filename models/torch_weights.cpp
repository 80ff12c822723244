#include "models/torch_weights.h"

#include <ATen/ATen.h>

#include "core/error.h"

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

// The tensor where it lies in the file, or a copy in `dtype`. The deleter holds the mapping.
at::Tensor tensor_of(const TensorView& view, at::ScalarType dtype) {
  void* data = const_cast<std::byte*>(view.bytes.data());
  const at::Tensor mapped = at::from_blob(
      data, view.shape, [file = view.file](void*) {}, at::TensorOptions(scalar_type(view.dtype)));
  return mapped.to(dtype);
}

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype)
      : checkpoint_(checkpoint), table_(tensor_table(spec)), dtype_(dtype) {
    check_tensors(checkpoint, table_);
  }
  at::Tensor get(Role role, int64_t layer = -1) const {
    const TensorSlot& slot = find_slot(table_, role, layer);
    return tensor_of(checkpoint_.at(slot.name, slot.shape), dtype_);
  }

 private:
  const Checkpoint& checkpoint_;
  std::vector<TensorSlot> table_;
  at::ScalarType dtype_;
};

DecoderWeights load_decoder(const Loader& from, const DecoderSpec& spec) {
  DecoderWeights to;
  to.embed = from.get(Role::EmbedTokens);
  to.head = spec.tie_word_embeddings ? to.embed : from.get(Role::LmHead);
  to.norm = from.get(Role::FinalNorm);
  to.layers.resize(size_t(spec.num_hidden_layers));
  for (int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    LayerWeights& layer = to.layers[size_t(l)];
    layer.input_norm = from.get(Role::InputNorm, l);
    layer.post_norm = from.get(Role::PostNorm, l);
    layer.q = from.get(Role::Q, l);
    layer.k = from.get(Role::K, l);
    layer.v = from.get(Role::V, l);
    if (spec.attention_bias) {
      layer.q_bias = from.get(Role::QBias, l);
      layer.k_bias = from.get(Role::KBias, l);
      layer.v_bias = from.get(Role::VBias, l);
    }
    layer.o = from.get(Role::O, l);
    layer.gate = from.get(Role::Gate, l);
    layer.up = from.get(Role::Up, l);
    layer.down = from.get(Role::Down, l);
  }
  return to;
}

VisionWeights load_vision(const Loader& from, const VisionSpec& spec) {
  VisionWeights to;
  to.patch = from.get(Role::PatchEmbed);
  to.class_embed = from.get(Role::ClassEmbed);
  to.positions = from.get(Role::PositionEmbed);
  to.pre_norm = from.get(Role::PreNorm);
  to.pre_norm_bias = from.get(Role::PreNormBias);
  to.layers.resize(size_t(spec.layers_run));
  for (int64_t l = 0; l < spec.layers_run; ++l) {
    VisionLayerWeights& layer = to.layers[size_t(l)];
    layer.norm1 = from.get(Role::Norm1, l);
    layer.norm1_bias = from.get(Role::Norm1Bias, l);
    layer.norm2 = from.get(Role::Norm2, l);
    layer.norm2_bias = from.get(Role::Norm2Bias, l);
    layer.q = from.get(Role::VisionQ, l);
    layer.k = from.get(Role::VisionK, l);
    layer.v = from.get(Role::VisionV, l);
    layer.o = from.get(Role::VisionO, l);
    layer.q_bias = from.get(Role::VisionQBias, l);
    layer.k_bias = from.get(Role::VisionKBias, l);
    layer.v_bias = from.get(Role::VisionVBias, l);
    layer.o_bias = from.get(Role::VisionOBias, l);
    layer.fc1 = from.get(Role::Fc1, l);
    layer.fc1_bias = from.get(Role::Fc1Bias, l);
    layer.fc2 = from.get(Role::Fc2, l);
    layer.fc2_bias = from.get(Role::Fc2Bias, l);
  }
  return to;
}

ProjectorWeights load_projector(const Loader& from, const ProjectorSpec& spec) {
  ProjectorWeights to;
  to.first = from.get(Role::Project1);
  to.second = from.get(Role::Project2);
  if (spec.bias) {
    to.first_bias = from.get(Role::Project1Bias);
    to.second_bias = from.get(Role::Project2Bias);
  }
  return to;
}

}  // namespace

TorchWeights load_weights(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype) {
  const Loader from(checkpoint, spec, dtype);
  return {load_decoder(from, spec.text), load_vision(from, spec.vision), load_projector(from, spec.projector)};
}

}  // namespace yopo
