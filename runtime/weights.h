// The model's weights as the runtime computes with them: in one element type, and in the order in which every plan's
// sets are prefixes. Tensors of the right type and order are used where they lie in the mapped checkpoint.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/spec.h"
#include "models/tensors.h"
#include "plans/order.h"
#include "runtime/layer_store.h"
#include "runtime/ops.h"

namespace yopo::runtime {

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

/// What a tower or projector lacks is null.
struct VisionLayerWeights {
  const float *norm1 = nullptr, *norm1_bias = nullptr, *norm2 = nullptr, *norm2_bias = nullptr;  // [E] each
  Matrix q, k, v, o;                                                                             // [E, E]
  const float *q_bias = nullptr, *k_bias = nullptr, *v_bias = nullptr, *o_bias = nullptr;        // [E]
  const float *q_norm = nullptr, *k_norm = nullptr, *scale1 = nullptr, *scale2 = nullptr;        // [E]
  Matrix fc1;                                                                                    // [F, E]
  const float* fc1_bias = nullptr;                                                               // [F]
  Matrix fc2;                                                                                    // [E, F]
  const float* fc2_bias = nullptr;                                                               // [E]
};

struct VisionWeights {
  Matrix patch;                                               // [E, patch_values]
  const float* patch_bias = nullptr;                          // [E]
  const float* class_embed = nullptr;                         // [E]
  const float* position_embed = nullptr;                      // [positions, E], in the order of the tower's rows
  const float *pre_norm = nullptr, *pre_norm_bias = nullptr;  // [E]
  const float *project_norm = nullptr, *project_norm_bias = nullptr;  // [E] or [merge_size^2 * E]
  Matrix project1, project2;                                          // [inner_size, merge_size^2 * E], [C, inner_size]
  const float *project1_bias = nullptr, *project2_bias = nullptr;     // [inner_size], [C]
};

struct Weights {
  DType type = DType::F32;            // of every Matrix: F32, BF16 or F16
  const float* final_norm = nullptr;  // [hidden]
  Matrix head;                        // [vocab, hidden]
  bool has_vision = false;
  VisionWeights vision;

  /// Token embeddings on the host, in their stored type: rows are looked up and widened one by one.
  const void* embed = nullptr;  // [vocab, hidden] of embed_type
  DType embed_type = DType::F32;

  /// The decoder's and the tower's layers, each all held or streamed.
  std::unique_ptr<LayerStore<DecoderLayerWeights>> layers;
  std::unique_ptr<LayerStore<VisionLayerWeights>> vision_layers;

  /// Bytes that lie in memory of our own rather than in the mapped checkpoint.
  int64_t owned_bytes() const { return fixed.owned_bytes() + layers->owned_bytes() + vision_layers->owned_bytes(); }
  /// Bytes of everything but the layers and the token embeddings, wherever they lie.
  int64_t fixed_bytes = 0;

  LoadedTensors fixed;  // what all of the above but the layers lies in
};

/// Orders in which the plan's sets are prefixes; layers that compute nothing visual keep the checkpoint's order.
std::vector<LayerOrder> prefix_orders(const Plan& plan, const DecoderSpec& spec);

/// Layers are loaded when they are first asked for. UserError for NaN or Inf in a tensor that is converted.
std::shared_ptr<Weights> load_weights(const OpenModel& model, const std::vector<LayerOrder>& orders, DType type,
                                      const Ops& ops);

/// Weights of a spec from a seed, without a vision tower: normal(0, 0.02), norms 1, biases normal(0, 0.02). The value
/// of an element depends on the seed, the tensor and its index in the unordered model alone.
std::shared_ptr<Weights> random_weights(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type,
                                        uint64_t seed, const Ops& ops);
/// Row `row` of such a tensor before ordering and rounding: what random_weights is made of. out [columns].
void random_row(uint64_t seed, Role role, int64_t layer, int64_t row, int64_t columns, float* out);

}  // namespace yopo::runtime
