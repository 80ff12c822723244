// The decoder layers' weights: all of them held, or, within a memory budget, the first ones held and the others brought
// in one at a time as the forward walks through them.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/file.h"
#include "runtime/ops.h"

namespace yopo::runtime {

/// A weight on the device: row-major and contiguous.
struct Matrix {
  const void* data = nullptr;  // [rows, columns] of Weights::type
  int64_t rows = 0, columns = 0;
};

struct DecoderLayerWeights {
  const float* input_norm = nullptr;  // [hidden]
  const float* post_norm = nullptr;   // [hidden]
  Matrix q;                           // [heads * head_dim, hidden]
  Matrix k, v;                        // [kv_heads * head_dim, hidden]
  Matrix o;                           // [hidden, heads * head_dim]
  Matrix gate, up;                    // [intermediate, hidden]
  Matrix down;                        // [hidden, intermediate]
  const float* q_bias = nullptr;      // [heads * head_dim] or null
  const float* k_bias = nullptr;      // [kv_heads * head_dim] or null
  const float* v_bias = nullptr;
};

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

struct LoadedLayer {
  DecoderLayerWeights weights;
  LoadedTensors memory;
};

class LayerStore {
 public:
  using Load = std::function<void(int64_t layer, LoadedLayer& into)>;
  using Announce = std::function<void(int64_t layer)>;  // this layer is next: the disk may start reading
  /// layer_bytes: of the largest layer, wherever its tensors lie.
  LayerStore(int64_t layers, int64_t layer_bytes, Load load, Announce announce);

  /// Loads whatever is to be held and is not yet.
  void load_all();
  /// Layers may take at most `bytes` from now on, mapped pages included. False, and nothing changes, if not even one
  /// fits.
  bool keep_within(int64_t bytes);
  int64_t layer_bytes() const { return layer_bytes_; }
  /// Whether some layers come and go.
  bool streaming() const { return held_ < int64_t(layers_.size()); }
  int64_t held() const { return held_; }
  /// Changes when weights that at() gave out before have moved or gone.
  int64_t generation() const { return generation_; }

  /// Valid until another layer is asked for.
  const DecoderLayerWeights& at(int64_t layer);
  int64_t owned_bytes() const;

 private:
  int64_t layer_bytes_;
  Load load_;
  Announce announce_;
  int64_t held_;
  std::vector<std::unique_ptr<LoadedLayer>> layers_;  // of the first held_ those asked for so far
  LoadedLayer passing_;                               // the one that is not held
  int64_t passing_layer_ = -1;
  int64_t generation_ = 0;
};

}  // namespace yopo::runtime
