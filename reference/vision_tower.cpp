#include "reference/vision_tower.h"

#include <cmath>

#include <ATen/ATen.h>

#include "core/error.h"
#include "models/patches.h"
#include "models/rope.h"
#include "reference/norm.h"

namespace yopo {

namespace {

constexpr size_t pictures_at_once = 8;  // of one size: bounds the widest activations

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::Silu:
      return at::silu(x);
    case Activation::Gelu:
      return at::gelu(x);
    case Activation::QuickGelu:
      return x * at::sigmoid(1.702 * x);
    case Activation::GeluTanh:
      return at::gelu(x, "tanh");
  }
  throw InternalError("an activation without a function");
}

at::Tensor norm(NormKind kind, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  return kind == NormKind::Rms ? rms_norm(x, weight, eps) : at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

// Pictures of one size: x [N, rows, E].
struct Stack {
  PatchGrid grid;
  at::Tensor x;
  Rotation rotation;                // of the rows; undefined unless the tower rotates
  at::Tensor class_attention = {};  // [N, rows] of the last block, mean over heads; undefined without a class row
};

at::Tensor attention(const VisionSpec& spec, const VisionLayerWeights& w, const at::Tensor& x, const Rotation& rotation,
                     at::Tensor* class_attention) {
  const int64_t pictures = x.size(0), rows = x.size(1), heads = spec.num_attention_heads;
  const auto split = [&](const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& norm_weight) {
    at::Tensor y = at::linear(x, weight, bias);
    if (norm_weight.defined()) y = rms_norm(y, norm_weight, spec.layer_norm_eps);
    return y.view({pictures, rows, heads, spec.head_dim()}).transpose(1, 2);
  };
  at::Tensor q = split(w.q, w.q_bias, w.q_norm), k = split(w.k, w.k_bias, w.k_norm);
  if (rotation.cos.defined()) q = rotate(q, rotation), k = rotate(k, rotation);
  if (class_attention) {
    const at::Tensor scores = at::matmul(q.slice(2, 0, 1), k.transpose(2, 3)).to(at::kFloat);  // [N, H, 1, rows]
    *class_attention = at::softmax(scores / std::sqrt(double(spec.head_dim())), -1).mean(1).squeeze(1);
  }
  const at::Tensor mixed = at::scaled_dot_product_attention(q, k, split(w.v, w.v_bias, {}));
  return at::linear(mixed.transpose(1, 2).reshape({pictures, rows, spec.hidden_size}), w.o, w.o_bias);
}

at::Tensor block(const VisionSpec& spec, const VisionLayerWeights& w, at::Tensor x, const Rotation& rotation,
                 at::Tensor* class_attention) {
  const double eps = spec.layer_norm_eps;
  const auto add = [&](const at::Tensor& branch, const at::Tensor& scale) {
    x = x + (scale.defined() ? branch * scale : branch);
  };
  add(attention(spec, w, norm(spec.norm, x, w.norm1, w.norm1_bias, eps), rotation, class_attention), w.scale1);
  const at::Tensor normed = norm(spec.norm, x, w.norm2, w.norm2_bias, eps);
  at::Tensor wide = at::linear(normed, w.fc1, w.fc1_bias);
  if (spec.gated_mlp)
    wide = activate(spec.hidden_act, at::linear(normed, w.fc_gate, w.fc_gate_bias)) * wide;
  else
    wide = activate(spec.hidden_act, wide);
  add(at::linear(wide, w.fc2, w.fc2_bias), w.scale2);
  return x;
}

// How the rows of a picture turn; a class token's stays as it is.
Rotation rotation_of_rows(const VisionSpec& spec, const PatchGrid& grid) {
  Rotation rotation = rotation_of(rope_table_2d(spec.head_dim(), patch_places(grid, spec.merge_size)));
  if (!spec.class_token) return rotation;
  const at::Tensor still = at::zeros({1, spec.head_dim() / 2}, at::kFloat);
  return {at::cat({still + 1, rotation.cos}), at::cat({still, rotation.sin})};
}

// Patches [N * patches, values] of pictures of one size, embedded.
Stack embed(const VisionSpec& spec, const VisionWeights& w, const PatchGrid& grid, const at::Tensor& patches) {
  const int64_t count = grid[0] * grid[1];
  Stack stack{grid, at::linear(patches, w.patch, w.patch_bias).view({-1, count, spec.hidden_size}), {}};
  if (spec.class_token) stack.x = at::cat({w.class_embed.expand({stack.x.size(0), 1, spec.hidden_size}), stack.x}, 1);
  if (spec.position_table) stack.x = stack.x + w.positions;
  if (spec.rotary) stack.rotation = rotation_of_rows(spec, grid);
  if (spec.pre_norm) stack.x = norm(NormKind::Layer, stack.x, w.pre_norm, w.pre_norm_bias, spec.layer_norm_eps);
  return stack;
}

}  // namespace

VisionOutput run_vision(const ModelSpec& spec, const TorchWeights& weights, const VisionLayers& layers,
                        const std::vector<PatchGrid>& grids, const at::Tensor& pixels) {
  const VisionSpec& vision = spec.vision;
  ensure(pixels.dim() == 2 && pixels.size(1) == vision.patch_values(), "pixels are rows of patches");
  const int64_t merged = vision.merge_size * vision.merge_size;
  std::vector<Stack> stacks;
  int64_t row = 0;
  for (size_t first = 0; first < grids.size();) {
    size_t last = first;
    while (last < grids.size() && last - first < pictures_at_once && grids[last] == grids[first]) ++last;
    const int64_t rows = int64_t(last - first) * grids[first][0] * grids[first][1];
    stacks.push_back(embed(vision, weights.vision, grids[first], pixels.slice(0, row, row + rows)));
    row += rows;
    first = last;
  }
  ensure(row == pixels.size(0), "as many patches as the pictures have");
  for (int64_t l = 0; l < vision.layers_run(); ++l)
    layers(l, [&](const VisionLayerWeights& layer) {
      for (Stack& stack : stacks)
        stack.x = block(vision, layer, stack.x, stack.rotation,
                        vision.class_token && l + 1 == vision.layers_run() ? &stack.class_attention : nullptr);
    });

  const ProjectorSpec& form = spec.projector;
  const ProjectorWeights& p = weights.projector;
  std::vector<at::Tensor> hidden, features, attention;
  for (const Stack& stack : stacks) {
    const at::Tensor patches = vision.class_token ? stack.x.slice(1, 1) : stack.x;
    // Pictures that came as pixels are shown row-major, ready patches as they came.
    const std::vector<int64_t> order = row_major_order(stack.grid, vision.merge_size);
    hidden.push_back((vision.image_size > 0 && merged > 1
                          ? patches.index_select(1, at::tensor(at::ArrayRef<int64_t>(order), at::kLong))
                          : patches)
                         .flatten(0, 1));
    if (stack.class_attention.defined())
      attention.push_back(stack.class_attention.slice(1, 1).reshape({-1, merged}).mean(1));
    at::Tensor x = patches.flatten(0, 1);
    const auto normed = [&](bool here) {
      if (here && form.norm != NormKind::None) x = norm(form.norm, x, p.norm, p.norm_bias, form.norm_eps);
    };
    normed(!form.norm_merged);
    x = x.reshape({x.size(0) / merged, merged * vision.hidden_size});
    normed(form.norm_merged);
    x = activate(form.hidden_act, at::linear(x, p.first, p.first_bias));
    features.push_back(at::linear(x, p.second, p.second_bias));
  }
  return {at::cat(hidden), at::cat(features), attention.empty() ? at::Tensor() : at::cat(attention)};
}

}  // namespace yopo
