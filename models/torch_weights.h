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
  at::Tensor embed;                  // [V, C]
  at::Tensor head;                   // [V, C]
  at::Tensor norm;                   // [C]
  std::vector<LayerWeights> layers;  // [L]
};

struct VisionLayerWeights {
  at::Tensor norm1, norm1_bias, norm2, norm2_bias;  // [E]
  at::Tensor q, k, v, o;                            // [E, E]
  at::Tensor q_bias, k_bias, v_bias, o_bias;        // [E]
  at::Tensor fc1, fc1_bias;                         // [M, E], [M]
  at::Tensor fc2, fc2_bias;                         // [E, M], [E]
};
struct VisionWeights {
  at::Tensor patch;                        // [E, 3, P, P]
  at::Tensor class_embed;                  // [E]
  at::Tensor positions;                    // [1 + grid * grid, E]
  at::Tensor pre_norm, pre_norm_bias;      // [E]
  std::vector<VisionLayerWeights> layers;  // [layers_run]: blocks past the feature are not loaded
};
struct ProjectorWeights {
  at::Tensor first, first_bias;    // [C, E], [C] or undefined
  at::Tensor second, second_bias;  // [C, C], [C] or undefined
};

struct TorchWeights {
  DecoderWeights decoder;
  VisionWeights vision;
  ProjectorWeights projector;
};

/// Loads what the forward reads in `dtype` (fp32 or bf16). A tensor stored in that dtype lies in the mapped file and is
/// never copied: it must not be written to. Sizes are checked against the tensor table.
TorchWeights load_weights(const Checkpoint& checkpoint, const ModelSpec& spec, at::ScalarType dtype);

}  // namespace yopo
