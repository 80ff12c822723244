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

}  // namespace

WeightSource::WeightSource(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype)
    : checkpoint_(checkpoint), spec_(spec), table_(tensor_table(spec)), dtype_(dtype) {
  check_tensors(checkpoint, table_);
}

at::Tensor WeightSource::stored(const TensorSlot& slot) const {
  return tensor_of(checkpoint_.at(slot.name, slot.stored));
}

at::Tensor WeightSource::get(const TensorSlot& slot) const {
  at::Tensor rows = rows_of(stored(slot), slot).to(dtype_);
  if (slot.role == Role::PatchEmbed) return rows.flatten(1);
  if (slot.role != Role::PositionEmbed) return rows;
  const std::vector<int64_t> order = position_order(spec_.vision);
  return rows.index_select(0, at::tensor(at::ArrayRef<int64_t>(order), at::kLong));
}

template <typename Tensors>
void WeightSource::fill(Tensors& into, int64_t layer) const {
  const auto read = [this](const TensorSlot& slot) { return get(slot); };
  fill_tensors(into, table_, layer, read, read);
}

TorchWeights WeightSource::ends() const {
  TorchWeights to;
  to.decoder.embed = stored(find_slot(table_, Role::EmbedTokens));
  fill<DecoderEnds<at::Tensor>>(to.decoder);
  fill<VisionEnds<at::Tensor>>(to.vision);
  fill(to.projector);
  for (int64_t tap = 0; tap < spec_.deep_taps(); ++tap) fill(to.taps.emplace_back(), tap);
  return to;
}

LayerWeights WeightSource::decoder_layer(int64_t l) const {
  LayerWeights layer;
  fill(layer, l);
  return layer;
}

VisionLayerWeights WeightSource::vision_layer(int64_t l) const {
  VisionLayerWeights layer;
  fill(layer, l);
  return layer;
}

void WeightSource::drop(int64_t layer, TensorPlace place) const {
  for (const TensorSlot& slot : table_) {
    if (slot.layer != layer || slot.place != place) continue;
    const TensorView& view = checkpoint_.at(slot.name);
    if (view.file) view.file->drop(size_t(view.bytes.data() - view.file->bytes().data()), view.bytes.size());
  }
}

WeightSource::Bytes WeightSource::bytes() const {
  Bytes bytes;
  std::map<std::pair<TensorPlace, int64_t>, int64_t> layers;
  for (const TensorSlot& slot : table_) {
    if (slot.tied) continue;
    const int64_t own = element_count(slot.shape, slot.name) * int64_t(at::elementSize(dtype_));
    bytes.all += own;
    if (slot.layer >= 0 && slot.place != TensorPlace::Tap)
      layers[{slot.place, slot.layer}] += own;
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
  for (int64_t l = 0; l < spec.vision.layers_run(); ++l) weights.vision.layers.push_back(from.vision_layer(l));
  return weights;
}

}  // namespace yopo
