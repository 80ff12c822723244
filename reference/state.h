// What a TorchEngine holds and the steps that its functions share. For Torch sources only.
#pragma once

#include <vector>

#include "reference/decoder.h"
#include "reference/engine.h"
#include "reference/vision_tower.h"
#include "reference/weights.h"

namespace yopo {

struct TorchEngine::State {
  ModelSpec spec;
  at::ScalarType dtype;
  WeightSource source;
  TorchWeights weights;  // without layers where they are streamed
  int64_t memory = 0;
  bool streaming = false;
  std::vector<TensorView> down;  // [L] as stored: [C, F]
  mutable Walk walk = Walk();
};

namespace torch_steps {

using State = TorchEngine::State;

/// All passes through all layers, each layer's weights held or brought in once.
void run_layers(const State& state, const std::vector<LayerRule>& rules, std::vector<DecoderPass>& passes);

/// The embedding rows of plain tokens: [n, C]. UserError for one outside the vocabulary.
at::Tensor embed_tokens(const State& state, const std::vector<int64_t>& tokens);
/// A sample as it enters the decoder.
struct Embedded {
  at::Tensor rows;  // [T, C]
  at::Tensor
      deepstack;  // [deep taps, T, C]: what is added behind the first layers, zero but for visual rows; or undefined
};
/// Embeddings of samples with the image features in place. All pictures go through the tower together.
/// Fills `seen`, one a sample, for those with pixels. UserError for pixels that do not fit the spans.
std::vector<Embedded> embed_inputs(const State& state, const std::vector<ModelInput>& inputs,
                                   std::vector<VisionOutput>* seen = nullptr);
NewPositions positions_of(const ModelInput& input);

std::vector<LayerRule> rules_for(const State& state, const Plan& plan, const MaskRules* rules);
/// Index of the largest logit, the lowest among equals; UserError for NaN. `logits` [V].
int64_t best_token(const at::Tensor& logits);
std::vector<float> floats_of(const at::Tensor& tensor);

}  // namespace torch_steps
}  // namespace yopo
