// RMS norm and rotation, which the decoder and the vision towers share. For Torch sources only.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/rope.h"

namespace yopo {

/// x / sqrt(mean(x^2) + eps) * weight over the last dimension, in fp32 up to the product with weight (Zhang and
/// Sennrich, arXiv 1910.07467).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

struct Rotation {
  at::Tensor cos, sin;  // [rows, D / 2] or [B, 1, rows, D / 2], fp32
};
/// A table as tensors [rows, D / 2].
Rotation rotation_of(const RopeTable& table);
/// x [..., rows, D], half-split layout.
at::Tensor rotate(const at::Tensor& x, const Rotation& rotation);

}  // namespace yopo
