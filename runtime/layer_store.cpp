#include "runtime/layer_store.h"

#include <algorithm>

#include "core/error.h"
#include "runtime/weights.h"

namespace yopo::runtime {

void* LoadedTensors::own(const Ops& ops, size_t bytes) {
  if (next_ < buffers_.size() && buffers_[next_].bytes() != bytes) buffers_.resize(next_);  // a layer of other sizes
  if (next_ == buffers_.size()) buffers_.emplace_back(ops, bytes);
  return buffers_[next_++].data();
}

void LoadedTensors::use(std::shared_ptr<const MappedFile> file, const void* data, size_t bytes) {
  const size_t offset = size_t(static_cast<const std::byte*>(data) - file->bytes().data());
  ranges_.push_back({std::move(file), offset, bytes});
}

void LoadedTensors::restart() {
  for (const Range& range : ranges_) range.file->drop(range.offset, range.size);
  ranges_.clear();
  next_ = 0;
}

int64_t LoadedTensors::owned_bytes() const {
  int64_t bytes = 0;
  for (const Buffer& buffer : buffers_) bytes += int64_t(buffer.bytes());
  return bytes;
}

int64_t LoadedTensors::bytes() const {
  int64_t bytes = owned_bytes();
  for (const Range& range : ranges_) bytes += int64_t(range.size);
  return bytes;
}

template <typename Layer>
LayerStore<Layer>::LayerStore(int64_t layers, int64_t layer_bytes, Load load, Announce announce)
    : layer_bytes_(layer_bytes),
      load_(std::move(load)),
      announce_(std::move(announce)),
      held_(layers),
      layers_(size_t(layers)) {}

template <typename Layer>
void LayerStore<Layer>::load_all(bool packed) {
  packed_ = packed;
  for (int64_t layer = 0; layer < held_; ++layer) at(layer);
}

template <typename Layer>
bool LayerStore<Layer>::keep_within(int64_t bytes) {
  const int64_t all = int64_t(layers_.size());
  const int64_t room = bytes / std::max<int64_t>(layer_bytes_, 1);
  if (room < 1 && all > 0) return false;
  const int64_t before = held_;
  held_ = room >= all ? all : room - 1;  // one place is for those that pass through
  for (int64_t layer = held_; layer < all; ++layer) {
    if (!layers_[size_t(layer)]) continue;
    layers_[size_t(layer)]->memory.restart();
    layers_[size_t(layer)].reset();
  }
  if (held_ != before) ++generation_;
  if (!streaming() || passing_layer_ < held_) {
    passing_.memory.restart();
    passing_ = {};
    passing_layer_ = -1;
  }
  return true;
}

template <typename Layer>
const Layer& LayerStore<Layer>::at(int64_t layer) {
  ensure(layer >= 0 && layer < int64_t(layers_.size()), "a layer of the model");
  if (layer < held_) {
    std::unique_ptr<Loaded<Layer>>& place = layers_[size_t(layer)];
    if (!place) {
      auto loaded = std::make_unique<Loaded<Layer>>();
      load_(layer, packed_, *loaded);
      place = std::move(loaded);
    }
    return place->weights;
  }
  if (passing_layer_ != layer) {
    passing_layer_ = -1;  // until it is whole
    passing_.memory.restart();
    load_(layer, false, passing_);
    passing_layer_ = layer;
    announce_(layer + 1 < int64_t(layers_.size()) ? layer + 1 : held_);
  }
  return passing_.weights;
}

template <typename Layer>
int64_t LayerStore<Layer>::owned_bytes() const {
  int64_t bytes = passing_.memory.owned_bytes();
  for (const std::unique_ptr<Loaded<Layer>>& layer : layers_)
    if (layer) bytes += layer->memory.owned_bytes();
  return bytes;
}

template class LayerStore<DecoderLayerWeights>;
template class LayerStore<VisionLayerWeights>;

}  // namespace yopo::runtime
