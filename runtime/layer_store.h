// The weights of layers: all of them held, or, within a memory budget, the first ones held and the others brought in
// one at a time as the forward walks through them.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/file.h"
#include "runtime/ops.h"

namespace yopo::runtime {

/// Memory that weights lie in: buffers of our own, reused in order when other tensors of the same sizes are loaded in
/// their place, and ranges of mapped files.
class LoadedTensors {
 public:
  /// The next buffer, of `bytes` bytes on the device of `ops`.
  void* own(const Ops& ops, size_t bytes);
  /// `bytes` of the file are used where they lie.
  void use(std::shared_ptr<const MappedFile> file, const void* data, size_t bytes);
  /// Other tensors come: buffers may be used again. The mapped pages are given back to the system.
  void restart();
  int64_t owned_bytes() const;
  /// Of buffers and ranges together.
  int64_t bytes() const;

 private:
  struct Range {
    std::shared_ptr<const MappedFile> file;
    size_t offset, size;
  };
  std::vector<Buffer> buffers_;
  std::vector<Range> ranges_;
  size_t next_ = 0;
};

/// A layer's weights with the memory they lie in.
template <typename Layer>
struct Loaded {
  Layer weights;
  LoadedTensors memory;
};

/// Layer: DecoderLayerWeights or VisionLayerWeights (runtime/weights.h).
template <typename Layer>
class LayerStore {
 public:
  using Load = std::function<void(int64_t layer, bool packed, Loaded<Layer>& into)>;
  using Announce = std::function<void(int64_t layer)>;  // this layer is next: the disk may start reading
  /// layer_bytes: of the largest layer, wherever its tensors lie.
  LayerStore(int64_t layers, int64_t layer_bytes, Load load, Announce announce);

  /// Loads whatever is to be held and is not yet, packed or not.
  void load_all(bool packed);
  /// Layers may take at most `bytes` from now on, mapped pages included. False, and nothing changes, if not even one
  /// fits.
  bool keep_within(int64_t bytes);
  int64_t count() const { return int64_t(layers_.size()); }
  int64_t layer_bytes() const { return layer_bytes_; }
  /// Whether some layers come and go.
  bool streaming() const { return held_ < count(); }
  int64_t held() const { return held_; }
  /// Bytes that the layers take at most.
  int64_t bytes() const { return (held_ + (streaming() ? 1 : 0)) * layer_bytes_; }
  /// Changes when weights that at() gave out before have moved or gone.
  int64_t generation() const { return generation_; }

  /// Valid until another layer is asked for.
  const Layer& at(int64_t layer);
  int64_t owned_bytes() const;

 private:
  int64_t layer_bytes_;
  Load load_;
  Announce announce_;
  int64_t held_;
  bool packed_ = false;                                 // those held
  std::vector<std::unique_ptr<Loaded<Layer>>> layers_;  // of the first held_ those asked for so far
  Loaded<Layer> passing_;                               // the one that is not held
  int64_t passing_layer_ = -1;
  int64_t generation_ = 0;
};

}  // namespace yopo::runtime
