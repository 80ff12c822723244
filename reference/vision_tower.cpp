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
  Rotation rotation;                    // of the rows; undefined unless the tower rotates
  std::vector<WindowRun> windows = {};  // empty: there are none
  std::vector<at::Tensor> deep = {};    // [N * tokens, C], what later taps gave so far
  at::Tensor class_attention = {};      // [N, rows] of the last block, mean over heads; undefined without a class row
};

// q, k, v [N, H, rows, D]: every row reads the rows of its own window.
at::Tensor attend_in(const std::vector<WindowRun>& windows, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v) {
  std::vector<at::Tensor> mixed;
  int64_t row = 0;
  for (const WindowRun& run : windows) {
    const int64_t end = row + run.windows * run.rows;
    const auto cut = [&](const at::Tensor& heads) {  // [N * windows, H, rows of a window, D]
      return heads.slice(2, row, end).unflatten(2, {run.windows, run.rows}).transpose(1, 2).flatten(0, 1);
    };
    const at::Tensor own = at::scaled_dot_product_attention(cut(q), cut(k), cut(v));
    mixed.push_back(own.unflatten(0, {q.size(0), run.windows}).transpose(1, 2).flatten(2, 3));
    row = end;
  }
  return at::cat(mixed, 2);
}

at::Tensor attention(const VisionSpec& spec, const VisionLayerWeights& w, const at::Tensor& x, const Rotation& rotation,
                     const std::vector<WindowRun>& windows, at::Tensor* class_attention) {
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
  const at::Tensor v = split(w.v, w.v_bias, {});
  const at::Tensor mixed = windows.empty() ? at::scaled_dot_product_attention(q, k, v) : attend_in(windows, q, k, v);
  return at::linear(mixed.transpose(1, 2).reshape({pictures, rows, spec.hidden_size}), w.o, w.o_bias);
}

// `windows`: empty where rows read the whole picture.
at::Tensor block(const VisionSpec& spec, const VisionLayerWeights& w, at::Tensor x, const Rotation& rotation,
                 const std::vector<WindowRun>& windows, at::Tensor* class_attention) {
  const double eps = spec.layer_norm_eps;
  const auto add = [&](const at::Tensor& branch, const at::Tensor& scale) {
    x = x + (scale.defined() ? branch * scale : branch);
  };
  add(attention(spec, w, norm(spec.norm, x, w.norm1, w.norm1_bias, eps), rotation, windows, class_attention), w.scale1);
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
  Rotation rotation = rotation_of(rope_table_2d(spec.head_dim(), tower_places(spec, grid)));
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
  if (spec.table_side > 0) {
    const TablePlaces places = table_places(spec, grid);
    const at::Tensor index = at::tensor(at::ArrayRef<int32_t>(places.index), at::kInt).view({-1, 4}),
                     weight = at::tensor(at::ArrayRef<float>(places.weight), at::kFloat).view({-1, 4, 1});
    stack.x = stack.x +
              (w.positions.index_select(0, index.flatten()).view({count, 4, -1}) * weight.to(w.positions.scalar_type()))
                  .sum(1);
  }
  if (spec.window > 0) stack.windows = window_runs(spec, grid);
  if (spec.rotary) stack.rotation = rotation_of_rows(spec, grid);
  if (spec.pre_norm) stack.x = norm(NormKind::Layer, stack.x, w.pre_norm, w.pre_norm_bias, spec.layer_norm_eps);
  return stack;
}

// Rows of the tower [N * patches, E] through a projector: [N * tokens, C].
at::Tensor project(const ModelSpec& spec, const ProjectorSpec& form, const ProjectorWeights& p, at::Tensor x) {
  const int64_t merged = spec.vision.merge_size * spec.vision.merge_size;
  const auto normed = [&](bool here) {
    if (here && form.norm != NormKind::None) x = norm(form.norm, x, p.norm, p.norm_bias, form.norm_eps);
  };
  normed(!form.norm_merged);
  x = x.reshape({x.size(0) / merged, merged * spec.vision.hidden_size});
  normed(form.norm_merged);
  x = activate(form.hidden_act, at::linear(x, p.first, p.first_bias));
  return at::linear(x, p.second, p.second_bias);
}

// Features of a stack [N * tokens, C], each picture's from the tower's order back into row-major order.
at::Tensor in_plain_order(const VisionSpec& spec, const Stack& stack, const at::Tensor& features) {
  const std::vector<int64_t> order = token_order(spec, stack.grid);
  if (order.empty()) return features;
  std::vector<int64_t> back(order.size());
  for (size_t i = 0; i < order.size(); ++i) back[size_t(order[i])] = int64_t(i);
  return features.view({stack.x.size(0), int64_t(order.size()), -1})
      .index_select(1, at::tensor(at::ArrayRef<int64_t>(back), at::kLong))
      .flatten(0, 1);
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
      for (Stack& stack : stacks) {
        stack.x = block(vision, layer, stack.x, stack.rotation,
                        vision.attends_whole(l) ? std::vector<WindowRun>() : stack.windows,
                        vision.class_token && l + 1 == vision.layers_run() ? &stack.class_attention : nullptr);
        if (const int64_t tap = int64_t(stack.deep.size()) + 1;
            tap <= spec.deep_taps() && vision.taps[size_t(tap)].tower_blocks == l + 1)
          stack.deep.push_back(in_plain_order(
              vision, stack, project(spec, spec.tap_projector, weights.taps[size_t(tap - 1)], stack.x.flatten(0, 1))));
      }
    });

  std::vector<at::Tensor> hidden, features, attention, deep;
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
    features.push_back(
        in_plain_order(vision, stack, project(spec, spec.projector, weights.projector, patches.flatten(0, 1))));
    if (!stack.deep.empty()) deep.push_back(at::stack(stack.deep));
  }
  return {at::cat(hidden), at::cat(features), attention.empty() ? at::Tensor() : at::cat(attention),
          deep.empty() ? at::Tensor() : at::cat(deep, 1)};
}

}  // namespace yopo
