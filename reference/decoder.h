// The one decoder forward with Torch: a whole batch, differentiable, masked by a plan. For Torch sources only.
//
// B samples padded on the left to T rows, C hidden size, H query heads over KV key/value heads of size D, F neurons.
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "reference/attention_mask.h"
#include "reference/norm.h"
#include "reference/weights.h"

namespace yopo {

/// What a plan under its rules does to one layer.
struct LayerRule {
  LayerMask mask;
  at::Tensor lost_heads;       // bool [H]: these lose the visual keys before the softmax; undefined: none
  at::Tensor visual_weight;    // [H]: factor of the weights of visual keys after the softmax; undefined: 1
  at::Tensor visual_output;    // [H]: factor of a head's output for visual rows; undefined: 1
  at::Tensor lost_neurons;     // bool [F]: visual rows do without these; undefined: none
  bool freeze_visual = false;  // visual rows leave the layer as they came
  at::Tensor added_down, added_up, added_bias;  // [R, C], [C, R], [C]: the compensation; undefined: none
  bool plain_attention() const {
    return mask.causal_only() && !lost_heads.defined() && !visual_weight.defined() && !visual_output.defined();
  }
};
/// The plan must fit the spec (check_plan). [L]
std::vector<LayerRule> layer_rules(const DecoderSpec& spec, const Plan& plan, const MaskRules& rules,
                                   at::ScalarType dtype);

/// Keys and values of all tokens so far, rotated.
struct KvCache {
  std::vector<at::Tensor> keys, values;  // [L] of [B, KV, length, D]
  int64_t length() const { return keys.empty() ? 0 : keys.front().size(2); }
};

/// Attention weights of a block of query rows, after all masking.
struct AttentionBlock {
  int64_t layer = 0;
  RowBlock block;
  at::Tensor weights;  // [B, H, block.rows, block.keys]; every later key has weight 0
};
/// The seam in the only forward path. A callback that is empty costs nothing; tensors are only valid during the call.
struct Observer {
  std::function<void(const AttentionBlock&)> attention;
  std::function<void(int64_t layer, int64_t past, const at::Tensor& activation)>
      activation;                                                       // [B, T, F], act(gate) * up
  std::function<void(int64_t layer, const at::Tensor& hidden)> hidden;  // [B, T, C], raw output
};

/// Positions of a sample's new tokens, padding not among them.
struct NewPositions {
  std::vector<int64_t> ids;  // [axes, T]
  int64_t axes = 1;          // as ModelInput::position_axes
};

/// One pass over new rows: prefill, or decoding behind earlier passes, each of which goes through a layer before this
/// one does.
struct Pass {
  const std::vector<SampleLayout>& samples;    // [B]
  const std::vector<NewPositions>& positions;  // [B]
  KvCache* cache = nullptr;                    // read and extended; null: a prefill that keeps nothing
  const Observer* observer = nullptr;
  int64_t past = 0;  // rows of the passes before it: the cache's length in a layer they have left
  /// [n, B, T, C]: added behind layers 0 to n - 1, where visual rows still go on (deepstack); undefined: nothing.
  at::Tensor deepstack = {};
};

/// A pass that goes from layer to layer, so that several passes can share a layer's weights while they are there.
/// Attention is explicit and streamed over blocks of query rows (scores of one block at a time), or fused where the
/// layer is dense and nobody looks. Formulas: LLaMA (Touvron et al., arXiv 2302.13971); masks: docs/architecture.md.
class DecoderPass {
 public:
  /// `embeds` [B, T, C]. What `pass` refers to must outlive this.
  DecoderPass(const DecoderSpec& spec, const at::Tensor& embeds, const Pass& pass);
  /// Layers come in order, each once.
  void layer(int64_t layer, const LayerWeights& weights, const LayerRule& rule);
  /// Output of the last layer so far, before the final norm: [B, T, C].
  const at::Tensor& hidden() const { return x_; }

 private:
  DecoderSpec spec_;
  Pass pass_;
  Rotation rotation_;        // [B, 1, T, D / 2]
  at::Tensor visual_;        // bool [B, past + T]
  at::Tensor own_visual_;    // bool [B, T, 1]
  bool any_visual_ = false;  // among the new rows
  int64_t past_ = 0;
  at::Tensor x_;
};

/// All layers: `embeds` [B, T, C] -> [B, T, C].
at::Tensor run_decoder(const DecoderSpec& spec, const DecoderWeights& weights, const std::vector<LayerRule>& rules,
                       const at::Tensor& embeds, const Pass& pass);

/// Final norm and head: `hidden` [..., C] -> logits [..., V].
at::Tensor run_head(const DecoderSpec& spec, const DecoderWeights& weights, const at::Tensor& hidden);

}  // namespace yopo
