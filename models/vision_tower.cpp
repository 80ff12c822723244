#include "models/vision_tower.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace yopo {

namespace {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::Silu:
      return at::silu(x);
    case Activation::Gelu:
      return at::gelu(x);
    case Activation::QuickGelu:
      return x * at::sigmoid(1.702 * x);
  }
  throw InternalError("an activation without a function");
}

// x [N, tokens, E] -> [N, tokens, E]
at::Tensor attention(const VisionLayerWeights& w, int64_t heads, const at::Tensor& x) {
  const int64_t images = x.size(0), tokens = x.size(1), width = x.size(2);
  const auto split = [&](const at::Tensor& weight, const at::Tensor& bias) {
    return at::linear(x, weight, bias).view({images, tokens, heads, width / heads}).transpose(1, 2);
  };
  const at::Tensor mixed =
      at::scaled_dot_product_attention(split(w.q, w.q_bias), split(w.k, w.k_bias), split(w.v, w.v_bias));
  return at::linear(mixed.transpose(1, 2).reshape({images, tokens, width}), w.o, w.o_bias);
}

// Class token, patches and their positions: [N, 1 + grid * grid, E].
at::Tensor embed(const VisionSpec& spec, const VisionWeights& w, const at::Tensor& pixels) {
  const at::Tensor patches = at::conv2d(pixels, w.patch, {}, {spec.patch_size, spec.patch_size});
  const at::Tensor first = w.class_embed.expand({pixels.size(0), 1, spec.hidden_size});
  return at::cat({first, patches.flatten(2).transpose(1, 2)}, 1) + w.positions;
}

}  // namespace

VisionOutput run_vision(const ModelSpec& spec, const TorchWeights& weights, const at::Tensor& pixels) {
  const VisionSpec& vision = spec.vision;
  const VisionWeights& w = weights.vision;
  ensure(pixels.dim() == 4 && pixels.size(1) == 3 && pixels.size(2) == vision.image_size &&
             pixels.size(3) == vision.image_size,
         "pixel values are [images, 3, image_size, image_size]");
  const double eps = vision.layer_norm_eps;
  const auto norm = [&](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    return at::layer_norm(x, {vision.hidden_size}, weight, bias, eps);
  };
  at::Tensor x = norm(embed(vision, w, pixels), w.pre_norm, w.pre_norm_bias);
  for (const VisionLayerWeights& layer : w.layers) {
    x = x + attention(layer, vision.num_attention_heads, norm(x, layer.norm1, layer.norm1_bias));
    const at::Tensor wide = at::linear(norm(x, layer.norm2, layer.norm2_bias), layer.fc1, layer.fc1_bias);
    x = x + at::linear(activate(vision.hidden_act, wide), layer.fc2, layer.fc2_bias);
  }
  if (vision.drop_class_token) x = x.slice(1, 1);
  const ProjectorWeights& p = weights.projector;
  const at::Tensor inner = activate(spec.projector.hidden_act, at::linear(x.flatten(0, 1), p.first, p.first_bias));
  return {x, at::linear(inner, p.second, p.second_bias)};
}

}  // namespace yopo
