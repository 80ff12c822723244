// From pixels to visual features: the vision tower (CLIP) and the projector.
#include <algorithm>
#include <span>

#include "core/error.h"
#include "runtime/state.h"

namespace yopo::runtime {
namespace {

constexpr size_t images_at_once = 8;  // bounds the tower's activations

/// Rows of patches, channel-major as the convolution's weights: [images * grid^2, 3 * patch * patch].
std::vector<float> unfold(const VisionSpec& v, std::span<const float* const> images) {
  const int64_t grid = v.grid(), patch = v.patch_size, side = v.image_size, row_size = 3 * patch * patch;
  std::vector<float> rows(images.size() * size_t(grid * grid * row_size));
  for (size_t image = 0; image < images.size(); ++image)
    for (int64_t y = 0; y < grid; ++y)
      for (int64_t x = 0; x < grid; ++x) {
        float* row = rows.data() + ((int64_t(image) * grid + y) * grid + x) * row_size;
        for (int64_t channel = 0; channel < 3; ++channel)
          for (int64_t i = 0; i < patch; ++i, row += patch)
            std::copy_n(images[image] + (channel * side + y * patch + i) * side + x * patch, patch, row);
      }
  return rows;
}

class Tower {
 public:
  explicit Tower(const EngineState& state)
      : s_(state),
        v_(state.spec.vision),
        w_(state.weights->vision),
        type_(state.type()),
        macs_(state.counters.vision_macs) {
    const uint64_t none = 0;
    pairs_ = Buffer(*s_.ops, sizeof none, &s_.memory);
    s_.ops->upload(pairs_.data(), &none, sizeof none);
  }

  /// Adds what attention counted on the device to the counters.
  void finish() {
    uint64_t pairs = 0;
    s_.ops->download(&pairs, pairs_.data(), sizeof pairs);
    macs_ += 2.0 * double(v_.hidden_size / v_.num_attention_heads) * double(pairs);
  }

  /// Features of images to `out` [images * tokens, hidden] fp32 on the device.
  void run(std::span<const float* const> pixels, float* out, Trace* trace) {
    const int64_t images = int64_t(pixels.size());
    const int64_t width = v_.hidden_size, positions = v_.positions(), rows = images * positions;
    const int64_t patches = images * (positions - 1), patch_size = 3 * v_.patch_size * v_.patch_size;
    Buffer x = s_.buffer(rows * width, DType::F32);
    {
      const std::vector<float> unfolded = unfold(v_, pixels);
      std::vector<std::byte> converted(unfolded.size() * size_of(type_));
      from_float(unfolded.data(), unfolded.size(), type_, converted.data());
      const Buffer in = s_.buffer(patches * patch_size, type_);
      s_.ops->upload(in.data(), converted.data(), converted.size());
      const Buffer embedded = s_.buffer(patches * width, DType::F32);
      multiply(in.data(), patches, w_.patch, nullptr, DType::F32, embedded.data(), false);
      const Buffer sum = s_.buffer(rows * width, DType::F32);
      s_.ops->embed_patches(embedded.as<float>(), w_.class_embed, w_.position_embed, images, positions, width,
                            sum.as<float>());
      s_.ops->layer_norm(sum.as<float>(), w_.pre_norm, w_.pre_norm_bias, v_.layer_norm_eps, rows, width, DType::F32,
                         x.data());
    }
    const int64_t inner = std::max(4 * width, v_.intermediate_size);
    const Buffer normed = s_.buffer(rows * width, type_), scratch = s_.buffer(rows * inner, type_);
    for (const VisionLayerWeights& layer : w_.layers) block(layer, images, x, normed, scratch);
    project(images, x, out, trace);
  }

 private:
  /// out [rows, w.rows] = a [rows, w.columns] w^T + bias, rows contiguous; `accumulate` cannot have a bias.
  void multiply(const void* a, int64_t rows, const Matrix& w, const float* bias, DType out_type, void* out,
                bool accumulate) {
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

  void block(const VisionLayerWeights& layer, int64_t images, const Buffer& x, const Buffer& normed,
             const Buffer& scratch) {
    const int64_t width = v_.hidden_size, rows = images * v_.positions();
    s_.ops->layer_norm(x.as<float>(), layer.norm1, layer.norm1_bias, v_.layer_norm_eps, rows, width, type_,
                       normed.data());
    void* q = scratch.data();
    void* k = offset(q, type_, rows * width);
    void* v = offset(k, type_, rows * width);
    void* out = offset(v, type_, rows * width);
    multiply(normed.data(), rows, layer.q, layer.q_bias, type_, q, false);
    multiply(normed.data(), rows, layer.k, layer.k_bias, type_, k, false);
    multiply(normed.data(), rows, layer.v, layer.v_bias, type_, v, false);
    const int64_t head_dim = width / v_.num_attention_heads;
    s_.ops->full_attention(
        {type_, images, v_.positions(), v_.num_attention_heads, head_dim, q, k, v, out, pairs_.as<uint64_t>()});
    add_rows(x, layer.o_bias, rows);
    multiply(out, rows, layer.o, nullptr, DType::F32, x.data(), true);

    s_.ops->layer_norm(x.as<float>(), layer.norm2, layer.norm2_bias, v_.layer_norm_eps, rows, width, type_,
                       normed.data());
    multiply(normed.data(), rows, layer.fc1, layer.fc1_bias, type_, scratch.data(), false);
    s_.ops->activate(v_.hidden_act, scratch.data(), type_, rows * v_.intermediate_size);
    add_rows(x, layer.fc2_bias, rows);
    multiply(scratch.data(), rows, layer.fc2, nullptr, DType::F32, x.data(), true);
  }
  void add_rows(const Buffer& x, const float* bias, int64_t rows) {
    s_.ops->add_bias(x.as<float>(), bias, rows, v_.hidden_size);
  }

  void project(int64_t images, const Buffer& x, float* out, Trace* trace) {
    const int64_t width = v_.hidden_size, positions = v_.positions(), skip = v_.drop_class_token ? 1 : 0;
    const int64_t rows = images * (positions - skip), hidden = s_.spec.text.hidden_size;
    const Buffer in = s_.buffer(rows * width, type_), middle = s_.buffer(rows * hidden, type_);
    s_.ops->drop_rows(x.as<float>(), images, positions, skip, width, type_, in.data());
    multiply(in.data(), rows, w_.project1, w_.project1_bias, type_, middle.data(), false);
    s_.ops->activate(s_.spec.projector.hidden_act, middle.data(), type_, rows * hidden);
    multiply(middle.data(), rows, w_.project2, w_.project2_bias, DType::F32, out, false);
    if (!trace) return;
    const Buffer chosen = s_.buffer(rows * width, DType::F32);
    s_.ops->drop_rows(x.as<float>(), images, positions, skip, width, DType::F32, chosen.data());
    append(trace->vision_hidden, chosen.as<float>(), rows * width);
    append(trace->vision_features, out, rows * hidden);
  }
  void append(std::vector<float>& to, const float* from, int64_t count) {
    to.resize(to.size() + size_t(count));
    s_.ops->download(to.data() + to.size() - size_t(count), from, size_t(count) * sizeof(float));
  }

  const EngineState& s_;
  const VisionSpec& v_;
  const VisionWeights& w_;
  DType type_;
  double& macs_;
  Buffer pairs_;  // one uint64: attended pairs of the tower
};

}  // namespace

int64_t vision_bytes(const EngineState& state, int64_t images) {
  if (images == 0 || !state.weights->has_vision) return 0;
  const VisionSpec& v = state.spec.vision;
  const int64_t element = int64_t(size_of(state.type())),
                rows = std::min(images, int64_t(images_at_once)) * v.positions();
  // Three fp32 rows while patches are embedded; then one, its normed copy, and q, k, v and output or the widened row.
  const int64_t embedding = v.hidden_size * 12 + 3 * v.patch_size * v.patch_size * element;
  const int64_t layer = v.hidden_size * (4 + element) + std::max(4 * v.hidden_size, v.intermediate_size) * element;
  const int64_t projector = v.hidden_size * element + state.spec.text.hidden_size * element;
  return rows * std::max(embedding, layer + projector);
}

void run_vision(const EngineState& state, const std::vector<const float*>& images, float* out, Trace* trace) {
  require(state.weights->has_vision, "images were given, but this engine has no vision tower (random weights)");
  const Stopwatch watch(state.counters.vision_seconds);
  const VisionSpec& v = state.spec.vision;
  const int64_t tokens = v.positions() - (v.drop_class_token ? 1 : 0);
  Tower tower(state);
  for (size_t first = 0; first < images.size(); first += images_at_once) {
    const size_t count = std::min(images_at_once, images.size() - first);
    tower.run(std::span(images).subspan(first, count), out, trace);
    out += int64_t(count) * tokens * state.spec.text.hidden_size;
  }
  tower.finish();
}

}  // namespace yopo::runtime
