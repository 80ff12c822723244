// From pixels to visual features: the vision tower and the projector.
#include <algorithm>
#include <span>

#include "core/error.h"
#include "models/anyres.h"
#include "models/patches.h"
#include "models/rope.h"
#include "runtime/read_attention.h"
#include "runtime/state.h"

namespace yopo::runtime {
namespace {

constexpr int64_t rows_at_once = 4800;  // bounds the tower's activations; a larger picture goes alone

int64_t patches_of(const PatchGrid& grid) { return grid[0] * grid[1]; }

/// Elements a row of a block's scratch: q, k, v and attention output, or the widened row, with its gate if it has one.
int64_t scratch_elements(const VisionSpec& v) {
  return std::max(4 * v.hidden_size, (v.gated_mlp ? 2 : 1) * v.intermediate_size);
}

class Tower {
 public:
  explicit Tower(const EngineState& state)
      : s_(state),
        v_(state.spec.vision),
        w_(state.weights->vision),
        projector_(state.weights->projector),
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
    macs_ += 2.0 * double(v_.head_dim()) * double(pairs);
  }

  /// Features of pictures to `out` [visual tokens, hidden] fp32 on the device; what later taps give to `deep` from row
  /// `deep_row` on.
  void run(std::span<const Picture> pictures, float* out, Trace* trace, const DeepRows& deep, int64_t deep_row) {
    pictures_ = pictures;
    patches_ = rows_ = 0;
    for (const Picture& picture : pictures) {
      patches_ += patches_of(picture.grid);
      rows_ += v_.positions(patches_of(picture.grid));
    }
    Buffer x = embed();
    rotation();
    const LayerRanges ranges(*s_.ops, &s_.ranges, "block", 0, v_.layers_run(), "projector");
    const int64_t width = v_.hidden_size, inner = scratch_elements(v_);
    {
      normed_ = s_.buffer(rows_ * width, type_);
      scratch_ = s_.buffer(rows_ * inner, type_);
      if (v_.qk_norm || v_.layer_scale) wide_ = s_.buffer(rows_ * width, DType::F32);
      s_.walk.expect(v_.layers_run());
      for (int64_t l = 0; l < v_.layers_run(); ++l) {
        block(l, s_.weights->vision_layers->at(l), x, l + 1 == v_.layers_run() ? trace : nullptr);
        for (int64_t tap = 1; deep.data && tap <= s_.spec.deep_taps(); ++tap)
          if (v_.taps[size_t(tap)].tower_blocks == l + 1)
            project(s_.spec.tap_projector, s_.weights->taps[size_t(tap - 1)], x,
                    deep.data + ((tap - 1) * deep.rows + deep_row) * s_.spec.text.hidden_size, nullptr);
        s_.step();
      }
      normed_ = {}, scratch_ = {}, wide_ = {}, cos_ = {}, sin_ = {};
    }
    project(s_.spec.projector, projector_, x, out, trace);
  }

 private:
  /// out [rows, w.rows] = a [rows, w.columns] w^T + bias, rows contiguous; `accumulate` cannot have a bias.
  void multiply(const void* a, int64_t rows, const Matrix& w, const float* bias, DType out_type, void* out,
                bool accumulate = false) {
    Gemm gemm;
    gemm.type = type_;
    gemm.m = rows, gemm.n = w.rows, gemm.k = w.columns;
    gemm.a = a, gemm.lda = w.columns;
    const std::vector<Piece> whole = pieces_of(w, type_, 0, w.rows, 0, w.columns);
    ensure(whole.size() == 1, "the tower's weights are not cut");
    gemm.w = whole[0].data, gemm.ldw = whole[0].ld, gemm.packed = whole[0].packed;
    gemm.bias = bias;
    gemm.out_type = out_type, gemm.out = out, gemm.ldo = w.rows;
    gemm.accumulate = accumulate;
    s_.ops->gemm(gemm);
    macs_ += double(rows) * double(w.rows) * double(w.columns);
  }
  void normalise(NormKind kind, const float* x, const float* weight, const float* bias, double eps, int64_t rows,
                 int64_t columns, DType type, void* out) {
    if (kind == NormKind::Rms)
      s_.ops->rms_norm(x, weight, eps, rows, columns, type, out);
    else
      s_.ops->layer_norm(x, weight, bias, eps, rows, columns, type, out);
  }

  /// The pictures' patches, embedded: [rows, width] fp32.
  Buffer embed() {
    const int64_t width = v_.hidden_size, values = v_.patch_values();
    const Buffer in = s_.buffer(patches_ * values, type_);
    std::vector<std::byte> converted;
    int64_t patch = 0;
    for (const Picture& picture : pictures_) {
      const std::vector<float> rows = patch_rows(v_, *picture.input, picture.index, 1);
      converted.resize(rows.size() * size_of(type_));
      from_float(rows.data(), rows.size(), type_, converted.data());
      s_.ops->upload(offset(in.data(), type_, patch * values), converted.data(), converted.size());
      patch += patches_of(picture.grid);
    }
    Buffer x = s_.buffer(patches_ * width, DType::F32);
    multiply(in.data(), patches_, w_.patch, w_.patch_bias, DType::F32, x.data());
    if (v_.class_token || v_.position_table) {
      Buffer sum = s_.buffer(rows_ * width, DType::F32);
      const int64_t count = int64_t(pictures_.size());
      s_.ops->embed_patches(x.as<float>(), w_.class_embed, w_.positions, count, rows_ / count, width, sum.as<float>());
      x = std::move(sum);
    }
    if (v_.table_side > 0) add_positions(x);
    if (!v_.pre_norm) return x;
    Buffer normed = s_.buffer(rows_ * width, DType::F32);
    normalise(NormKind::Layer, x.as<float>(), w_.pre_norm, w_.pre_norm_bias, v_.layer_norm_eps, rows_, width,
              DType::F32, normed.data());
    return normed;
  }

  /// x += the positions of all rows, interpolated in the table.
  void add_positions(Buffer& x) {
    TablePlaces all;
    for (const Picture& picture : pictures_) {
      const TablePlaces own = table_places(v_, picture.grid);
      all.index.insert(all.index.end(), own.index.begin(), own.index.end());
      all.weight.insert(all.weight.end(), own.weight.begin(), own.weight.end());
    }
    const int64_t width = v_.hidden_size;
    const Buffer index = on_device(all.index), weight = on_device(all.weight);
    const Buffer positions = s_.buffer(rows_ * width, DType::F32);
    s_.ops->mix_rows(w_.positions, index.as<int32_t>(), weight.as<float>(), rows_, width, positions.as<float>());
    s_.ops->add_bias(x.as<float>(), positions.as<float>(), 1, rows_ * width);
  }

  template <typename T>
  Buffer on_device(const std::vector<T>& values) const {
    Buffer buffer(*s_.ops, values.size() * sizeof(T), &s_.memory);
    s_.ops->upload(buffer.data(), values.data(), values.size() * sizeof(T));
    return buffer;
  }

  /// The rotary tables of all rows, where the tower rotates.
  void rotation() {
    if (!v_.rotary) return;
    std::vector<float> cos, sin;
    for (const Picture& picture : pictures_) {
      const RopeTable own = rope_table_2d(v_.head_dim(), tower_places(v_, picture.grid));
      if (v_.class_token) {  // stays as it is
        cos.insert(cos.end(), size_t(own.half), 1.0f);
        sin.insert(sin.end(), size_t(own.half), 0.0f);
      }
      cos.insert(cos.end(), own.cos.begin(), own.cos.end());
      sin.insert(sin.end(), own.sin.begin(), own.sin.end());
    }
    cos_ = s_.buffer(int64_t(cos.size()), DType::F32);
    sin_ = s_.buffer(int64_t(sin.size()), DType::F32);
    s_.ops->upload(cos_.data(), cos.data(), cos.size() * sizeof(float));
    s_.ops->upload(sin_.data(), sin.data(), sin.size() * sizeof(float));
  }

  /// q or k: out [rows, width] of type_, normalised over all heads and rotated where the tower does so.
  void project_heads(const Matrix& w, const float* bias, const float* norm, void* out) {
    const int64_t width = v_.hidden_size;
    multiply(normed_.data(), rows_, w, bias, norm ? DType::F32 : type_, norm ? wide_.data() : out);
    if (norm) normalise(NormKind::Rms, wide_.as<float>(), norm, nullptr, v_.layer_norm_eps, rows_, width, type_, out);
    if (cos_.data())
      s_.ops->rope(out, type_, rows_, v_.num_attention_heads, v_.head_dim(), width, cos_.as<float>(), sin_.as<float>());
  }

  /// x += scale * (a w^T + bias); null scale: 1.
  void add(const Buffer& x, const void* a, const Matrix& w, const float* bias, const float* scale) {
    if (scale) {
      multiply(a, rows_, w, bias, DType::F32, wide_.data());
      s_.ops->add_scaled(x.as<float>(), scale, wide_.as<float>(), rows_, v_.hidden_size);
    } else {
      s_.ops->add_bias(x.as<float>(), bias, rows_, v_.hidden_size);
      multiply(a, rows_, w, nullptr, DType::F32, x.data(), true);
    }
  }

  /// `trace`: gets what the class rows read; or null.
  void block(int64_t l, const VisionLayerWeights& layer, const Buffer& x, Trace* trace) {
    const int64_t width = v_.hidden_size;
    normalise(v_.norm, x.as<float>(), layer.norm1, layer.norm1_bias, v_.layer_norm_eps, rows_, width, type_,
              normed_.data());
    void* q = scratch_.data();
    void* k = offset(q, type_, rows_ * width);
    void* v = offset(k, type_, rows_ * width);
    void* out = offset(v, type_, rows_ * width);
    project_heads(layer.q, layer.q_bias, layer.q_norm, q);
    project_heads(layer.k, layer.k_bias, layer.k_norm, k);
    multiply(normed_.data(), rows_, layer.v, layer.v_bias, type_, v);
    if (trace && v_.class_token) keep_attention(q, k, *trace);
    int64_t row = 0;
    for (const WindowRun& run : attended(l)) {
      const int64_t at = row * width;
      s_.ops->full_attention({type_, run.windows, run.rows, v_.num_attention_heads, v_.head_dim(), offset(q, type_, at),
                              offset(k, type_, at), offset(v, type_, at), offset(out, type_, at),
                              pairs_.as<uint64_t>()});
      row += run.windows * run.rows;
    }
    add(x, out, layer.o, layer.o_bias, layer.scale1);

    normalise(v_.norm, x.as<float>(), layer.norm2, layer.norm2_bias, v_.layer_norm_eps, rows_, width, type_,
              normed_.data());
    const int64_t wide = rows_ * v_.intermediate_size;
    if (v_.gated_mlp) {  // silu's: check_spec
      void* up = offset(scratch_.data(), type_, wide);
      multiply(normed_.data(), rows_, layer.fc_gate, layer.fc_gate_bias, type_, scratch_.data());
      multiply(normed_.data(), rows_, layer.fc1, layer.fc1_bias, type_, up);
      s_.ops->gated(scratch_.data(), up, type_, 1, wide, wide, scratch_.data());
    } else {
      multiply(normed_.data(), rows_, layer.fc1, layer.fc1_bias, type_, scratch_.data());
      s_.ops->activate(v_.hidden_act, scratch_.data(), type_, wide);
    }
    add(x, scratch_.data(), layer.fc2, layer.fc2_bias, layer.scale2);
  }

  /// The rows that read one another in block `l`: whole pictures or windows, neighbours of one size at once.
  std::vector<WindowRun> attended(int64_t l) const {
    std::vector<WindowRun> all;
    const auto append = [&](const WindowRun& run) {
      if (all.empty() || all.back().rows != run.rows) all.push_back({0, run.rows});
      all.back().windows += run.windows;
    };
    for (const Picture& picture : pictures_) {
      if (v_.attends_whole(l)) {
        append({1, v_.positions(patches_of(picture.grid))});
      } else {
        for (const WindowRun& run : window_runs(v_, picture.grid)) append(run);
      }
    }
    return all;
  }

  /// Rows of the tower through a projector, into plain order: `out` [visual tokens, hidden].
  void project(const ProjectorSpec& p, const ProjectorTensors<Matrix, const float*>& w, const Buffer& x, float* out,
               Trace* trace) {
    const int64_t width = v_.hidden_size, hidden = s_.spec.text.hidden_size, merged = v_.merge_size * v_.merge_size;
    const int64_t tokens = patches_ / merged, groups = v_.class_token ? int64_t(pictures_.size()) : 1;
    const bool norm = p.norm != NormKind::None;
    const Buffer in = s_.buffer(patches_ * width, type_), middle = s_.buffer(tokens * p.inner_size, type_);
    Buffer chosen;  // without class tokens
    if (norm || trace) chosen = s_.buffer(patches_ * width, DType::F32);
    const auto choose = [&](DType type, void* to) {
      s_.ops->drop_rows(x.as<float>(), groups, rows_ / groups, (rows_ - patches_) / groups, width, type, to);
    };
    if (chosen.data()) choose(DType::F32, chosen.data());
    if (norm)
      normalise(p.norm, chosen.as<float>(), w.norm, w.norm_bias, p.norm_eps, p.norm_merged ? tokens : patches_,
                p.norm_merged ? merged * width : width, type_, in.data());
    else
      choose(type_, in.data());
    multiply(in.data(), tokens, w.first, w.first_bias, type_, middle.data());
    s_.ops->activate(p.hidden_act, middle.data(), type_, tokens * p.inner_size);
    if (v_.window > 0) {
      const Buffer ordered = s_.buffer(tokens * hidden, DType::F32);
      multiply(middle.data(), tokens, w.second, w.second_bias, DType::F32, ordered.data());
      into_plain_order(ordered.as<float>(), tokens, out);
    } else {
      multiply(middle.data(), tokens, w.second, w.second_bias, DType::F32, out);
    }
    if (!trace) return;
    append(trace->vision_features, out, tokens * hidden);
    keep_hidden(chosen, *trace);
  }

  /// out [tokens, hidden]: the rows of `from`, which lie window by window, row-major.
  void into_plain_order(const float* from, int64_t tokens, float* out) {
    std::vector<int32_t> index(size_t(4 * tokens), 0);
    std::vector<float> weight(size_t(4 * tokens), 0.0f);
    int64_t token = 0;
    for (const Picture& picture : pictures_) {
      const std::vector<int64_t> order = token_order(v_, picture.grid);
      for (size_t i = 0; i < order.size(); ++i) {
        const auto to = size_t(4 * (token + order[i]));
        index[to] = int32_t(token + int64_t(i)), weight[to] = 1;
      }
      token += int64_t(order.size());
    }
    const Buffer own_index = on_device(index), own_weight = on_device(weight);
    s_.ops->mix_rows(from, own_index.as<int32_t>(), own_weight.as<float>(), tokens, s_.spec.text.hidden_size, out);
  }

  void keep_attention(const void* q, const void* k, Trace& trace) {
    int64_t at = 0;
    for (const Picture& picture : pictures_) {
      const int64_t patches = patches_of(picture.grid);
      const std::vector<float> own = class_row_attention(s_, offset(q, type_, at), offset(k, type_, at), patches);
      trace.vision_attention.insert(trace.vision_attention.end(), own.begin(), own.end());
      at += v_.positions(patches) * v_.hidden_size;
    }
  }

  /// Pictures that came as pixels are shown row-major, ready patches as they came.
  void keep_hidden(const Buffer& chosen, Trace& trace) {
    const int64_t width = v_.hidden_size;
    std::vector<float> rows;
    append(rows, chosen.as<float>(), patches_ * width);
    const float* from = rows.data();
    for (const Picture& picture : pictures_) {
      const bool reorder = v_.image_size > 0 && v_.merge_size > 1;
      const std::vector<int64_t> order = row_major_order(picture.grid, v_.merge_size);
      for (size_t i = 0; i < order.size(); ++i) {
        const float* row = from + (reorder ? order[i] : int64_t(i)) * width;
        trace.vision_hidden.insert(trace.vision_hidden.end(), row, row + width);
      }
      from += int64_t(order.size()) * width;
    }
  }
  void append(std::vector<float>& to, const float* from, int64_t count) {
    to.resize(to.size() + size_t(count));
    s_.ops->download(to.data() + to.size() - size_t(count), from, size_t(count) * sizeof(float));
  }

  const EngineState& s_;
  const VisionSpec& v_;
  const VisionEnds<Matrix, const float*>& w_;
  const ProjectorTensors<Matrix, const float*>& projector_;
  DType type_;
  double& macs_;
  Buffer pairs_;  // one uint64: attended pairs of the tower
  std::span<const Picture> pictures_;
  int64_t patches_ = 0, rows_ = 0;  // of these; rows include class tokens
  Buffer normed_;                   // [rows, width]
  Buffer scratch_;                  // [rows, scratch_elements]
  Buffer wide_;                     // [rows, width] fp32, before a norm or a scale
  Buffer cos_, sin_;                // [rows, head_dim / 2] where the tower rotates
};

}  // namespace

int64_t vision_bytes(const EngineState& state, const std::vector<ModelInput>& inputs, const Layout& layout) {
  const VisionSpec& v = state.spec.vision;
  int64_t all = 0, largest = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].embeds.empty() || layout.requests[i].visual_rows == 0) continue;
    for (const PatchGrid& grid : patch_grids(v, inputs[i])) {
      all += v.positions(patches_of(grid));
      largest = std::max(largest, v.positions(patches_of(grid)));
    }
  }
  if (all == 0 || !state.weights->has_vision) return 0;
  const int64_t element = int64_t(size_of(state.type())), width = v.hidden_size;
  const int64_t rows = std::max(largest, std::min(all, rows_at_once));
  // Three fp32 rows while patches are embedded; then one, its normed copy, a wide one, the rotary tables, and q, k, v
  // and output or the widened row.
  const int64_t embedding = width * 12 + v.patch_values() * element + (v.table_side > 0 ? 32 : 0);
  int64_t layer = width * (8 + element) + v.head_dim() * 4 + scratch_elements(v) * element;
  int64_t projector = width * (8 + element) + state.spec.projector.inner_size * element;
  if (v.window > 0) projector += state.spec.text.hidden_size * 4 + 32;  // features before they are back in plain order
  if (state.spec.deep_taps() > 0)                                       // while a block's buffers are there
    layer += width * (4 + element) + state.spec.tap_projector.inner_size * element;
  // Images that are tiles: the tiles' features wait until all are there, and the places of the visual tokens in them.
  const bool tiled = is_anyres(state.spec);
  const int64_t waiting = tiled ? (all * state.spec.image_tokens() / v.positions(v.grid() * v.grid()) + 1) *
                                          state.spec.text.hidden_size * 4 +
                                      layout.visual_rows * 32 + 64
                                : 0;
  return rows * std::max({embedding, layer, projector}) + waiting;
}

void run_vision(const EngineState& state, const std::vector<Picture>& pictures, float* out, Trace* trace,
                const DeepRows& deep, int64_t deep_row) {
  require(state.weights->has_vision, "images were given, but this engine has no vision tower (random weights)");
  const Stopwatch watch(state.counters.vision_seconds);
  const Range range(*state.ops, "vision");
  const VisionSpec& v = state.spec.vision;
  Tower tower(state);
  for (size_t first = 0; first < pictures.size();) {
    size_t last = first;
    int64_t rows = 0, patches = 0;
    for (; last < pictures.size(); ++last) {
      const int64_t own = v.positions(patches_of(pictures[last].grid));
      if (last > first && rows + own > rows_at_once) break;
      rows += own;
      patches += patches_of(pictures[last].grid);
    }
    tower.run(std::span(pictures).subspan(first, last - first), out, trace, deep, deep_row);
    const int64_t tokens = patches / (v.merge_size * v.merge_size);
    out += tokens * state.spec.text.hidden_size, deep_row += tokens;
    first = last;
  }
  tower.finish();
}

}  // namespace yopo::runtime
