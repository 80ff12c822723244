// A checkpoint's tensors as Torch sees them, by role. For Torch sources only.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "models/layer_tensors.h"

namespace yopo {

// What a model lacks is undefined.
using LayerWeights = LayerTensors<at::Tensor>;
using VisionLayerWeights = VisionLayerTensors<at::Tensor>;
using ProjectorWeights = ProjectorTensors<at::Tensor>;
using TapWeights = TapTensors<at::Tensor>;
struct DecoderWeights : DecoderEnds<at::Tensor> {
  at::Tensor embed;                  // [V, C], in the stored dtype
  std::vector<LayerWeights> layers;  // [L]
};
struct VisionWeights : VisionEnds<at::Tensor> {
  std::vector<VisionLayerWeights> layers;  // [layers_run]: blocks past the last tap are not loaded
};

struct TorchWeights {
  DecoderWeights decoder;
  VisionWeights vision;
  ProjectorWeights projector;
  std::vector<TapWeights> taps;  // those behind decoder layers
};

/// Where weights come from: a checkpoint read in `dtype` (fp32 or bf16). A tensor stored in that dtype lies in the
/// mapped file and is never copied (but for rows that lie apart in a shared tensor): it must not be written to. Sizes
/// are checked against the tensor table.
class WeightSource {
 public:
  WeightSource(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype);
  /// Everything but the layers.
  TorchWeights ends() const;
  LayerWeights decoder_layer(int64_t layer) const;
  VisionLayerWeights vision_layer(int64_t layer) const;
  /// Gives the pages of a layer's tensors back to the system.
  void drop_decoder_layer(int64_t layer) const { drop(layer, TensorPlace::DecoderLayer); }
  void drop_vision_layer(int64_t layer) const { drop(layer, TensorPlace::VisionLayer); }
  /// Bytes of all tensors in dtype, of the largest layer, and of everything but the layers and the token embeddings.
  struct Bytes {
    int64_t all = 0, largest_layer = 0, ends = 0;
  };
  Bytes bytes() const;

 private:
  /// The slot's tensor as it is stored, and its role's rows in dtype.
  at::Tensor stored(const TensorSlot& slot) const;
  at::Tensor get(const TensorSlot& slot) const;
  template <typename Tensors>
  void fill(Tensors& into, int64_t layer = -1) const;
  void drop(int64_t layer, TensorPlace place) const;
  Checkpoint checkpoint_;
  ModelSpec spec_;
  std::vector<TensorSlot> table_;
  at::ScalarType dtype_;
};

/// All of them.
TorchWeights load_weights(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype);

}  // namespace yopo
