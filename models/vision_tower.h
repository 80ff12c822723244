// The vision tower (CLIP's ViT; Radford et al., arXiv 2103.00020) and LLaVA's two-layer projector. Always dense.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/torch_weights.h"

namespace yopo {

struct VisionOutput {
  at::Tensor hidden;    // [images, tokens, E]: output of the chosen block, class token dropped if the spec says so
  at::Tensor features;  // [images * tokens, C]: what replaces the placeholders
};

/// `pixels` [images, 3, S, S], normalised, in the weights' dtype. Differentiable.
VisionOutput run_vision(const ModelSpec& spec, const TorchWeights& weights, const at::Tensor& pixels);

}  // namespace yopo
