// A checkpoint's tensors as Torch sees them, by role. For Torch sources only.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "models/spec.h"
#include "models/tensors.h"

namespace yopo {

struct LayerWeights {
  at::Tensor input_norm, post_norm;   // [C]
  at::Tensor q;                       // [H * D, C]
  at::Tensor k, v;                    // [KV * D, C]
  at::Tensor q_bias, k_bias, v_bias;  // [H * D], [KV * D] twice; undefined without attention_bias
  at::Tensor o;                       // [C, H * D]
  at::Tensor gate, up;                // [F, C]
  at::Tensor down;                    // [C, F]
};
struct DecoderWeights {
  at::Tensor embed;                  // [V, C], in the stored dtype
  at::Tensor head;                   // [V, C]
  at::Tensor norm;                   // [C]
  std::vector<LayerWeights> layers;  // [L]
};

/// What a tower or projector lacks is undefined.
struct VisionLayerWeights {
  at::Tensor norm1, norm1_bias, norm2, norm2_bias;  // [E]
  at::Tensor q, k, v, o;                            // [E, E]
  at::Tensor q_bias, k_bias, v_bias, o_bias;        // [E]
  at::Tensor q_norm, k_norm;                        // [E]
  at::Tensor scale1, scale2;                        // [E]
  at::Tensor fc1, fc1_bias;                         // [M, E], [M]
  at::Tensor fc2, fc2_bias;                         // [E, M], [E]
};
struct VisionWeights {
  at::Tensor patch, patch_bias;            // [E, patch_values], [E]
  at::Tensor class_embed;                  // [E]
  at::Tensor positions;                    // [1 + patches, E], in the order of the tower's rows
  at::Tensor pre_norm, pre_norm_bias;      // [E]
  std::vector<VisionLayerWeights> layers;  // [layers_run]: blocks past the feature are not loaded
};
struct ProjectorWeights {
  at::Tensor norm, norm_bias;      // [E] or [merge_size^2 * E]
  at::Tensor first, first_bias;    // [inner_size, merge_size^2 * E], [inner_size]
  at::Tensor second, second_bias;  // [C, inner_size], [C]
};

struct TorchWeights {
  DecoderWeights decoder;
  VisionWeights vision;
  ProjectorWeights projector;
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
  void drop_decoder_layer(int64_t layer) const { drop(layer, false); }
  void drop_vision_layer(int64_t layer) const { drop(layer, true); }
  /// Bytes of all tensors in dtype, of the largest layer, and of everything but the layers and the token embeddings.
  struct Bytes {
    int64_t all = 0, largest_layer = 0, ends = 0;
  };
  Bytes bytes() const;

 private:
  at::Tensor get(Role role, int64_t layer = -1) const;
  at::Tensor get_if(bool there, Role role, int64_t layer = -1) const;
  void drop(int64_t layer, bool vision) const;
  Checkpoint checkpoint_;
  ModelSpec spec_;
  std::vector<TensorSlot> table_;
  at::ScalarType dtype_;
};

/// All of them.
TorchWeights load_weights(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype);

}  // namespace yopo
