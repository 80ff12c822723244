// From pixels and ids to input embeddings: the vision tower (CLIP), the projector, and token embeddings.
#include <algorithm>

#include "core/error.h"
#include "runtime/state.h"

namespace yopo::runtime {
namespace {

constexpr int64_t images_at_once = 8;  // bounds the tower's activations

/// Rows of patches, channel-major as the convolution's weights: [images * grid^2, 3 * patch * patch].
std::vector<float> unfold(const VisionSpec& v, const float* pixels, int64_t images) {
  const int64_t grid = v.grid(), patch = v.patch_size, side = v.image_size, row_size = 3 * patch * patch;
  std::vector<float> rows(size_t(images * grid * grid * row_size));
  for (int64_t image = 0; image < images; ++image)
    for (int64_t y = 0; y < grid; ++y)
      for (int64_t x = 0; x < grid; ++x) {
        float* row = rows.data() + ((image * grid + y) * grid + x) * row_size;
        for (int64_t channel = 0; channel < 3; ++channel)
          for (int64_t i = 0; i < patch; ++i, row += patch)
            std::copy_n(pixels + ((image * 3 + channel) * side + y * patch + i) * side + x * patch, patch, row);
      }
  return rows;
}

class Tower {
 public:
  explicit Tower(const EngineState& state)
      : s_(state), v_(state.spec.vision), w_(state.weights->vision), type_(state.type()), macs_(state.counters.vision_macs) {}

  /// Features of `images` images appended to `features`, on the host.
  void run(const float* pixels, int64_t images, std::vector<float>& features, Trace* trace) {
    const int64_t width = v_.hidden_size, positions = v_.positions(), rows = images * positions;
    const int64_t patches = images * (positions - 1), patch_size = 3 * v_.patch_size * v_.patch_size;
    Buffer x = s_.buffer(rows * width, DType::F32);
    {
      const std::vector<float> unfolded = unfold(v_, pixels, images);
      std::vector<std::byte> converted(unfolded.size() * size_of(type_));
      from_float(unfolded.data(), unfolded.size(), type_, converted.data());
      const Buffer in = s_.buffer(patches * patch_size, type_);
      s_.ops->upload(in.data(), converted.data(), converted.size());
      const Buffer embedded = s_.buffer(patches * width, DType::F32);
      multiply(in.data(), patches, w_.patch, nullptr, DType::F32, embedded.data(), false);
      const Buffer sum = s_.buffer(rows * width, DType::F32);
      s_.ops->embed_patches(embedded.as<float>(), w_.class_embed, w_.position_embed, images, positions, width, sum.as<float>());
      s_.ops->layer_norm(sum.as<float>(), w_.pre_norm, w_.pre_norm_bias, v_.layer_norm_eps, rows, width, DType::F32, x.data());
    }
    const int64_t inner = std::max(4 * width, v_.intermediate_size);
    const Buffer normed = s_.buffer(rows * width, type_), scratch = s_.buffer(rows * inner, type_);
    for (const VisionLayerWeights& layer : w_.layers) block(layer, images, x, normed, scratch);
    project(images, x, features, trace);
  }

 private:
  /// out [rows, w.rows] = a [rows, w.columns] w^T + bias, rows contiguous; `accumulate` cannot have a bias.
  void multiply(const void* a, int64_t rows, const Matrix& w, const float* bias, DType out_type, void* out, bool accumulate) {
    Gemm gemm;
    gemm.type = type_;
    gemm.m = rows, gemm.n = w.rows, gemm.k = w.columns;
    gemm.a = a, gemm.lda = w.columns;
    gemm.w = w.data, gemm.ldw = w.columns;
    gemm.bias = bias;
    gemm.out_type = out_type, gemm.out = out, gemm.ldo = w.rows;
    gemm.accumulate = accumulate;
    s_.ops->gemm(gemm);
    macs_ += double(rows) * double(w.rows) * double(w.columns);
  }

  void block(const VisionLayerWeights& layer, int64_t images, const Buffer& x, const Buffer& normed, const Buffer& scratch) {
    const int64_t width = v_.hidden_size, rows = images * v_.positions();
    s_.ops->layer_norm(x.as<float>(), layer.norm1, layer.norm1_bias, v_.layer_norm_eps, rows, width, type_, normed.data());
    void* q = scratch.data();
    void* k = offset(q, type_, rows * width);
    void* v = offset(k, type_, rows * width);
    void* out = offset(v, type_, rows * width);
    multiply(normed.data(), rows, layer.q, layer.q_bias, type_, q, false);
    multiply(normed.data(), rows, layer.k, layer.k_bias, type_, k, false);
    multiply(normed.data(), rows, layer.v, layer.v_bias, type_, v, false);
    const int64_t head_dim = width / v_.num_attention_heads;
    const int64_t pairs = s_.ops->full_attention({type_, images, v_.positions(), v_.num_attention_heads, head_dim, q, k, v, out});
    macs_ += 2.0 * double(head_dim) * double(pairs);
    add_rows(x, layer.o_bias, rows);
    multiply(out, rows, layer.o, nullptr, DType::F32, x.data(), true);

    s_.ops->layer_norm(x.as<float>(), layer.norm2, layer.norm2_bias, v_.layer_norm_eps, rows, width, type_, normed.data());
    multiply(normed.data(), rows, layer.fc1, layer.fc1_bias, type_, scratch.data(), false);
    s_.ops->activate(v_.hidden_act, scratch.data(), type_, rows * v_.intermediate_size);
    add_rows(x, layer.fc2_bias, rows);
    multiply(scratch.data(), rows, layer.fc2, nullptr, DType::F32, x.data(), true);
  }
  void add_rows(const Buffer& x, const float* bias, int64_t rows) { s_.ops->add_bias(x.as<float>(), bias, rows, v_.hidden_size); }

  void project(int64_t images, const Buffer& x, std::vector<float>& features, Trace* trace) {
    const int64_t width = v_.hidden_size, positions = v_.positions(), skip = v_.drop_class_token ? 1 : 0;
    const int64_t tokens = positions - skip, rows = images * tokens, hidden = s_.spec.text.hidden_size;
    // The tower's output leaves the device here anyway when traced; without its class rows it is contiguous again.
    std::vector<float> all(size_t(images * positions * width)), chosen;
    s_.ops->download(all.data(), x.data(), all.size() * sizeof(float));
    for (int64_t image = 0; image < images; ++image) {
      const auto first = all.begin() + (image * positions + skip) * width;
      chosen.insert(chosen.end(), first, first + tokens * width);
    }
    std::vector<std::byte> converted(chosen.size() * size_of(type_));
    from_float(chosen.data(), chosen.size(), type_, converted.data());
    const Buffer in = s_.buffer(rows * width, type_), middle = s_.buffer(rows * hidden, type_);
    const Buffer out = s_.buffer(rows * hidden, DType::F32);
    s_.ops->upload(in.data(), converted.data(), converted.size());
    multiply(in.data(), rows, w_.project1, w_.project1_bias, type_, middle.data(), false);
    s_.ops->activate(s_.spec.projector.hidden_act, middle.data(), type_, rows * hidden);
    multiply(middle.data(), rows, w_.project2, w_.project2_bias, DType::F32, out.data(), false);
    const size_t before = features.size();
    features.resize(before + size_t(rows * hidden));
    s_.ops->download(features.data() + before, out.data(), size_t(rows * hidden) * sizeof(float));
    if (trace) {
      trace->vision_hidden.insert(trace->vision_hidden.end(), chosen.begin(), chosen.end());
      trace->vision_features.insert(trace->vision_features.end(), features.begin() + int64_t(before), features.end());
    }
  }

  const EngineState& s_;
  const VisionSpec& v_;
  const VisionWeights& w_;
  DType type_;
  double& macs_;
};

}  // namespace

std::vector<float> run_vision(const EngineState& state, const float* pixels, int64_t images, Trace* trace) {
  require(state.weights->has_vision, "images were given, but this engine has no vision tower (random weights)");
  const Stopwatch watch(state.counters.vision_seconds);
  const int64_t image_size = 3 * state.spec.vision.image_size * state.spec.vision.image_size;
  std::vector<float> features;
  Tower tower(state);
  for (int64_t first = 0; first < images; first += images_at_once)
    tower.run(pixels + first * image_size, std::min(images_at_once, images - first), features, trace);
  return features;
}

void embed_token(const EngineState& state, int64_t token, float* out) {
  const int64_t hidden = state.spec.text.hidden_size;
  require(token >= 0 && token < state.spec.text.vocab_size, "token id {} is outside the vocabulary of {}", token,
          state.spec.text.vocab_size);
  const DType type = state.weights->embed_type;
  to_float(offset(state.weights->embed, type, token * hidden), type, size_t(hidden), out);
}

std::vector<float> embed_inputs(const EngineState& state, const std::vector<ModelInput>& inputs, const Layout& layout,
                                Trace* trace) {
  const int64_t hidden = state.spec.text.hidden_size;
  std::vector<float> x(size_t(layout.rows() * hidden));
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ModelInput& input = inputs[i];
    const RequestRows& rows = layout.requests[i];
    const auto row = [&](int64_t token) { return x.data() + rows.row_of[size_t(token)] * hidden; };
    if (!input.embeds.empty()) {
      require(int64_t(input.embeds.size()) == input.length() * hidden, "request {}: embeds: expected [{}, {}], found {} values", i,
              input.length(), hidden, input.embeds.size());
      for (int64_t token = 0; token < input.length(); ++token) std::copy_n(input.embeds.data() + token * hidden, hidden, row(token));
      continue;
    }
    require(int64_t(input.input_ids.size()) == input.length(), "request {}: {} input ids for {} positions", i,
            input.input_ids.size(), input.length());
    std::vector<float> features;
    if (input.images > 0) {
      const int64_t side = state.spec.vision.image_size;
      require(int64_t(input.pixel_values.size()) == input.images * 3 * side * side,
              "request {}: pixel_values: expected [{}, 3, {}, {}], found {} values", i, input.images, side, side,
              input.pixel_values.size());
      features = run_vision(state, input.pixel_values.data(), input.images, trace);
    }
    require(int64_t(features.size()) == input.visual_tokens() * hidden,
            "request {}: {} images give {} visual tokens, but the prompt has room for {}", i, input.images,
            int64_t(features.size()) / hidden, input.visual_tokens());
    int64_t next = 0;
    size_t span = 0;
    for (int64_t token = 0; token < input.length(); ++token) {
      while (span < input.spans.size() && token >= input.spans[span].start + input.spans[span].count()) ++span;
      if (span < input.spans.size() && token >= input.spans[span].start)
        std::copy_n(features.data() + next++ * hidden, hidden, row(token));
      else
        embed_token(state, input.input_ids[size_t(token)], row(token));
    }
  }
  return x;
}

}  // namespace yopo::runtime
