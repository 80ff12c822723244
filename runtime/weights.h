// The model's weights as the runtime computes with them: in one element type, and in the order in which every plan's
// sets are prefixes. Tensors of the right type and order are used where they lie in the mapped checkpoint.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/layer_tensors.h"
#include "plans/order.h"
#include "runtime/layer_split.h"
#include "runtime/layer_store.h"
#include "runtime/ops.h"
#include "runtime/packed.h"

namespace yopo::runtime {

// What a model lacks is null.
/// A decoder layer's matrices stand apart, or q, k and v are one matrix, gate and up another, and o has the columns
/// that go with them (runtime/layer_split.h).
struct DecoderLayerWeights : LayerTensors<Matrix, const float*> {
  Matrix qkv, gate_up;
  const float* qkv_bias = nullptr;
  bool merged() const { return qkv.rows > 0; }
};
using VisionLayerWeights = VisionLayerTensors<Matrix, const float*>;

struct Weights {
  DType type = DType::F32;  // of every Matrix: F32, BF16 or F16
  DecoderEnds<Matrix, const float*> decoder;
  bool has_vision = false;
  VisionEnds<Matrix, const float*> vision;
  ProjectorTensors<Matrix, const float*> projector;
  std::vector<TapTensors<Matrix, const float*>> taps;  // those behind decoder layers

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

  bool can_merge = false;          // the layers: it was asked for, and the device gains by it
  bool merged = false;             // so the layers are; where the device has such a form, they are packed, too
  std::vector<LayerSplit> splits;  // how
};

/// Whether weights are copied into the form that the device computes with fastest, for one plan: each decoder layer's
/// merged, so split, and all of them packed where there is such a form. Not where they would be copied for nothing
/// else.
struct Arrangement {
  bool wanted = false;
  std::vector<LayerSplit> splits = {};
};

/// Orders in which the plan's sets are prefixes; layers that compute nothing visual keep the checkpoint's order.
std::vector<LayerOrder> prefix_orders(const Plan& plan, const DecoderSpec& spec);
/// The same for a checkpoint's plan. An export stays as it is where the plan is in prefix form: one of several plans
/// may update heads that do not stand together, which costs more products but no copy of the weights.
std::vector<LayerOrder> prefix_orders(const Plan& plan, const OpenModel& model);

/// Layers are loaded when they are first asked for. UserError for NaN or Inf in a tensor that is converted.
std::shared_ptr<Weights> load_weights(const OpenModel& model, const std::vector<LayerOrder>& orders, DType type,
                                      const Ops& ops, const Arrangement& arrangement);

/// Weights of a spec from a seed, without a vision tower: normal(0, 0.02), norms 1, biases normal(0, 0.02). The value
/// of an element depends on the seed, the tensor and its index in the unordered model alone.
std::shared_ptr<Weights> random_weights(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type,
                                        uint64_t seed, const Ops& ops, const Arrangement& arrangement);
/// Row `row` of such a tensor before ordering and rounding: what random_weights is made of. out [columns].
void random_row(uint64_t seed, Role role, int64_t layer, int64_t row, int64_t columns, float* out);

}  // namespace yopo::runtime
