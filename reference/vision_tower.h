// The vision tower and the projector, always dense: a ViT (Radford et al., arXiv 2103.00020; arXiv 2312.14238; arXiv
// 2409.12191) and two linear layers over merged patches.
#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include "models/input.h"
#include "reference/weights.h"

namespace yopo {

struct VisionOutput {
  at::Tensor hidden;     // [patches, E]: output of the chosen block without class tokens, as the family orders patches
  at::Tensor features;   // [visual tokens, C]: what replaces the placeholders
  at::Tensor attention;  // [visual tokens]: what the class row of that block reads, see Trace; undefined without one
  at::Tensor deepstack;  // [deep taps, visual tokens, C]: what is added to them behind the first layers; or undefined
};

/// Brings a layer's weights and calls `use` with them, once.
using VisionLayers = std::function<void(int64_t layer, const std::function<void(const VisionLayerWeights&)>& use)>;

/// Pictures of these grids, `pixels` being their patch_rows [patches, patch_values] in the weights' dtype; all of them
/// go through a layer before the next is asked for. Differentiable.
VisionOutput run_vision(const ModelSpec& spec, const TorchWeights& weights, const VisionLayers& layers,
                        const std::vector<PatchGrid>& grids, const at::Tensor& pixels);

}  // namespace yopo
