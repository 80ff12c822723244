// The skipping forward. Rows lie visual first, weights in prefix form: what visual rows share with text rows is one matrix
// product over all rows and a prefix of the weights, the rest a second one over the text rows alone.
#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "models/rope.h"
#include "runtime/state.h"

namespace yopo::runtime {
namespace {

constexpr int64_t ffn_rows = 2048;  // rows of a slice of the FFN: bounds its memory, long enough for full speed

/// The pieces that `rows` rows are cut into, equal but for the last.
int64_t slice_rows(int64_t rows) {
  const int64_t slices = (rows + ffn_rows - 1) / ffn_rows;
  return slices ? (rows + slices - 1) / slices : 0;
}

class Forward {
 public:
  Forward(const Pass& pass, float* x) : pass_(pass), s_(pass.state), spec_(s_.spec.text), type_(s_.type()), x_(x) {
    const int64_t width = spec_.num_attention_heads * spec_.head_dim, kv_width = spec_.num_key_value_heads * spec_.head_dim;
    normed_ = s_.buffer(pass.rows() * spec_.hidden_size, type_);
    int64_t scratch = pass.rows() * (2 * width + 2 * kv_width);
    for (const LayerPlan& layer : s_.layers) scratch = std::max({scratch, 2 * shared_slice(layer) * layer.neurons, rest_elements(layer)});
    scratch_ = s_.buffer(scratch, type_);
    q_ = scratch_.data();
    out_ = offset(q_, type_, pass.rows() * width);
    k_ = offset(out_, type_, pass.rows() * width);
    v_ = offset(k_, type_, pass.rows() * kv_width);

    const RopeTable table = rope_table(spec_, pass.positions);
    cos_ = upload(table.cos);
    sin_ = upload(table.sin);
    if (pass.layout) place_prefill();
  }

  void run() {
    for (int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
      layer_ = l;
      plan_ = &s_.layers[size_t(l)];
      w_ = &s_.weights->layers[size_t(l)];
      attention();
      ffn();
      if (pass_.hidden_after) pass_.hidden_after(l);
    }
  }

 private:
  template <typename T>
  Buffer upload(const std::vector<T>& values) {
    Buffer buffer(*s_.ops, values.size() * sizeof(T), &s_.memory);
    if (!values.empty()) s_.ops->upload(buffer.data(), values.data(), values.size() * sizeof(T));
    return buffer;
  }
  /// Rows of a slice that visual and text rows share, and elements of gate and up for what text rows have alone.
  int64_t shared_slice(const LayerPlan& layer) const {
    return layer.neurons ? slice_rows(pass_.rows()) : 0;
  }
  int64_t rest_elements(const LayerPlan& layer) const {
    return 2 * slice_rows(pass_.text_rows) * (spec_.intermediate_size - layer.neurons);
  }

  void place_prefill() {
    for (size_t i = 0; i < pass_.requests.size(); ++i) {
      const RequestRows& rows = pass_.layout->requests[i];
      before_.push_back(upload(rows.visual_before_text));
      before_.push_back(upload(rows.text_before_visual));
    }
  }

  /// out[rows] (+)= a[rows] w[first row .. + n, first column .. + k]^T; `a` and `out` point at row 0.
  struct Part {
    const void* a;
    int64_t lda;
    const Matrix& w;
    int64_t w_row, n, w_column, k;
    const float* bias;
    DType out_type;
    void* out;
    int64_t ldo;
    bool accumulate;
  };
  void multiply(const Part& part, int64_t row, int64_t rows, double& macs) {
    if (rows <= 0 || part.n <= 0 || part.k <= 0) return;
    Gemm gemm;
    gemm.type = type_;
    gemm.m = rows, gemm.n = part.n, gemm.k = part.k;
    gemm.a = offset(part.a, type_, row * part.lda), gemm.lda = part.lda;
    gemm.w = offset(part.w.data, type_, part.w_row * part.w.columns + part.w_column), gemm.ldw = part.w.columns;
    gemm.bias = part.bias;
    gemm.out_type = part.out_type;
    gemm.out = offset(part.out, part.out_type, row * part.ldo), gemm.ldo = part.ldo;
    gemm.accumulate = part.accumulate;
    s_.ops->gemm(gemm);
    macs += double(rows) * double(part.n) * double(part.k);
  }
  /// Columns [first, first + n) of out = a w^T + bias.
  void project(const Matrix& w, const float* bias, void* out, int64_t first, int64_t n, int64_t row, int64_t rows) {
    multiply({normed_.data(), spec_.hidden_size, w, first, n, 0, spec_.hidden_size, bias ? bias + first : nullptr, type_,
              offset(out, type_, first), w.rows, false},
             row, rows, pass_.cost.projections);
  }
  void normalise(const float* weight, bool with_visual) {
    const int64_t row = with_visual ? 0 : pass_.visual_rows, rows = pass_.rows() - row;
    if (rows > 0)
      s_.ops->rms_norm(x_ + row * spec_.hidden_size, weight, spec_.rms_norm_eps, rows, spec_.hidden_size, type_,
                       offset(normed_.data(), type_, row * spec_.hidden_size));
  }

  void attention() {
    const int64_t dim = spec_.head_dim, text = pass_.visual_rows, all_rows = pass_.rows(), text_rows = pass_.text_rows;
    const int64_t width = spec_.num_attention_heads * dim, kv_width = spec_.num_key_value_heads * dim;
    normalise(w_->input_norm, plan_->visual_kv_heads > 0);
    for (const Run& run : plan_->updated_runs) project(w_->q, w_->q_bias, q_, run.first * dim, run.count * dim, 0, all_rows);
    for (const Run& run : plan_->other_runs) project(w_->q, w_->q_bias, q_, run.first * dim, run.count * dim, text, text_rows);
    const int64_t shared = plan_->visual_kv_heads * dim;
    project(w_->k, w_->k_bias, k_, 0, shared, 0, all_rows);
    project(w_->k, w_->k_bias, k_, shared, kv_width - shared, text, text_rows);
    project(w_->v, w_->v_bias, v_, 0, shared, 0, all_rows);
    project(w_->v, w_->v_bias, v_, shared, kv_width - shared, text, text_rows);

    if (pass_.visual_rows > 0)
      for (const Run& run : plan_->updated_runs)
        s_.ops->rope(offset(q_, type_, run.first * dim), type_, pass_.visual_rows, run.count, dim, width, cos_.as<float>(),
                     sin_.as<float>());
    if (text_rows > 0)
      s_.ops->rope(offset(q_, type_, text * width), type_, text_rows, spec_.num_attention_heads, dim, width,
                   cos_.as<float>() + text * dim / 2, sin_.as<float>() + text * dim / 2);
    store_keys();
    const int64_t pairs = pass_.layout ? attend_prefill() : attend_decode();
    pass_.cost.attention += 2.0 * double(dim) * double(pairs);

    const auto add = [&](const Run& run, int64_t row, int64_t rows) {
      multiply({offset(out_, type_, run.first * dim), width, w_->o, 0, spec_.hidden_size, run.first * dim, run.count * dim,
                nullptr, DType::F32, x_, spec_.hidden_size, true},
               row, rows, pass_.cost.projections);
    };
    for (const Run& run : plan_->updated_runs) add(run, 0, all_rows);
    for (const Run& run : plan_->other_runs) add(run, text, text_rows);
  }

  void store_keys() {
    std::vector<StoreRows> targets;
    for (size_t i = 0; i < pass_.requests.size(); ++i) {
      const KvCache& cache = pass_.requests[i]->cache;
      if (pass_.layout) {
        const RequestRows& rows = pass_.layout->requests[i];
        const KvSegment visual = cache.visual(layer_);
        if (visual.count > 0) targets.push_back({rows.visual_row, rows.visual_rows, 0, visual});
        if (rows.text_rows > 0) targets.push_back({rows.text_row, rows.text_rows, 0, cache.text(layer_, rows.text_rows)});
      } else {
        targets.push_back({int64_t(i), 1, cache.text_count(), cache.text(layer_, cache.text_count() + 1)});
      }
    }
    s_.ops->store(k_, v_, type_, spec_.num_key_value_heads * spec_.head_dim, spec_.head_dim, cos_.as<float>(),
                  sin_.as<float>(), targets);
  }

  int64_t attend_prefill() {
    std::vector<PrefillRequest> requests;
    for (size_t i = 0; i < pass_.requests.size(); ++i) {
      const RequestRows& rows = pass_.layout->requests[i];
      const KvCache& cache = pass_.requests[i]->cache;
      PrefillRequest& request = requests.emplace_back();
      request.visual_row = rows.visual_row;
      request.visual_rows = plan_->updates() ? rows.visual_rows : 0;
      request.text_row = rows.text_row;
      request.text_rows = rows.text_rows;
      request.visual_before_text = before_[2 * i].as<int32_t>();
      request.text_before_visual = before_[2 * i + 1].as<int32_t>();
      request.images = rows.images;
      request.visual = cache.visual(layer_);
      request.text = cache.text(layer_, rows.text_rows);
    }
    PrefillAttention work;
    describe(work);
    work.updated = s_.head_flags[size_t(layer_)].second.as<uint8_t>();
    if (s_.plan.window) {
      work.window_radius = (s_.plan.window->size - 1) / 2;
      work.window_causal = s_.plan.window->causal;
    }
    work.requests = requests;
    return s_.ops->prefill_attention(work);
  }

  int64_t attend_decode() {
    std::vector<DecodeRequest> requests;
    for (const Request* request : pass_.requests)
      requests.push_back({request->cache.visual(layer_), request->cache.text(layer_, request->cache.text_count() + 1)});
    DecodeAttention work;
    describe(work);
    work.requests = requests;
    return s_.ops->decode_attention(work);
  }

  template <typename Work>
  void describe(Work& work) {
    work.type = type_;
    work.heads = spec_.num_attention_heads;
    work.kv_heads = spec_.num_key_value_heads;
    work.head_dim = spec_.head_dim;
    work.q = q_;
    work.out = out_;
    work.kept = s_.head_flags[size_t(layer_)].first.as<uint8_t>();
  }

  void ffn() {
    normalise(w_->post_norm, plan_->neurons > 0);
    neurons(0, plan_->neurons, 0, pass_.rows());
    neurons(plan_->neurons, spec_.intermediate_size - plan_->neurons, pass_.visual_rows, pass_.text_rows);
  }
  /// x[rows] += down(silu(gate) * up) over neurons [first, first + count).
  void neurons(int64_t first, int64_t count, int64_t row, int64_t rows) {
    if (count == 0 || rows == 0) return;
    const int64_t hidden = spec_.hidden_size, slice = slice_rows(rows);
    for (const int64_t end = row + rows; row < end; row += slice) {
      const int64_t here = std::min(slice, end - row);
      void* gate = scratch_.data();
      void* up = offset(gate, type_, here * count);
      const void* in = offset(normed_.data(), type_, row * hidden);
      multiply({in, hidden, w_->gate, first, count, 0, hidden, nullptr, type_, gate, count, false}, 0, here, pass_.cost.ffn);
      multiply({in, hidden, w_->up, first, count, 0, hidden, nullptr, type_, up, count, false}, 0, here, pass_.cost.ffn);
      s_.ops->gated(gate, up, type_, here * count);
      multiply({gate, count, w_->down, 0, hidden, first, count, nullptr, DType::F32, x_ + row * hidden, hidden, true}, 0, here,
               pass_.cost.ffn);
    }
  }

  const Pass& pass_;
  const EngineState& s_;
  const DecoderSpec& spec_;
  DType type_;
  float* x_;                                           // [rows, hidden]
  Buffer normed_;                                      // [rows, hidden]
  Buffer scratch_;                                     // q, attention output, k, v; or gate and up
  void *q_ = nullptr, *out_ = nullptr;                 // [rows, heads * head_dim]
  void *k_ = nullptr, *v_ = nullptr;                   // [rows, kv_heads * head_dim]
  Buffer cos_, sin_;                                   // [rows, head_dim / 2]
  std::vector<Buffer> before_;                         // per request visual_before_text, text_before_visual
  int64_t layer_ = 0;
  const LayerPlan* plan_ = nullptr;
  const DecoderLayerWeights* w_ = nullptr;
};

}  // namespace

void run_decoder(const Pass& pass, float* x) { Forward(pass, x).run(); }

void run_head(const EngineState& state, const float* x, const std::vector<int64_t>& rows, Cost& cost, float* out) {
  const DecoderSpec& spec = state.spec.text;
  constexpr int64_t slice = 256;  // bounds the logits on the device
  for (size_t first = 0; first < rows.size(); first += slice) {
    const int64_t count = std::min<int64_t>(slice, int64_t(rows.size() - first));
    const Buffer normed = state.buffer(count * spec.hidden_size, state.type());
    for (int64_t i = 0; i < count;) {  // runs of neighbouring rows in one call
      const int64_t row = rows[first + size_t(i)];
      int64_t run = 1;
      while (i + run < count && rows[first + size_t(i + run)] == row + run) ++run;
      state.ops->rms_norm(x + row * spec.hidden_size, state.weights->final_norm, spec.rms_norm_eps, run, spec.hidden_size,
                          state.type(), offset(normed.data(), state.type(), i * spec.hidden_size));
      i += run;
    }
    const Buffer logits = state.buffer(count * spec.vocab_size, DType::F32);
    Gemm gemm;
    gemm.type = state.type();
    gemm.m = count, gemm.n = spec.vocab_size, gemm.k = spec.hidden_size;
    gemm.a = normed.data(), gemm.lda = spec.hidden_size;
    gemm.w = state.weights->head.data, gemm.ldw = spec.hidden_size;
    gemm.out = logits.data(), gemm.ldo = spec.vocab_size;
    state.ops->gemm(gemm);
    cost.head += double(count) * double(spec.vocab_size) * double(spec.hidden_size);
    state.ops->download(out + int64_t(first) * spec.vocab_size, logits.data(), size_t(count * spec.vocab_size) * sizeof(float));
  }
}

}  // namespace yopo::runtime
