// The skipping forward. Rows lie visual first, weights in prefix form: what visual rows share with text rows is one
// matrix product over all rows and a prefix of the weights, the rest a second one over the text rows alone.
#include "runtime/decoder.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "models/rope.h"

namespace yopo::runtime {
namespace {

constexpr int64_t ffn_rows = 2048;  // rows of a slice of the FFN: bounds its memory, long enough for full speed

/// The pieces that `rows` rows are cut into, equal but for the last.
int64_t slice_rows(int64_t rows) {
  const int64_t slices = (rows + ffn_rows - 1) / ffn_rows;
  return slices ? (rows + slices - 1) / slices : 0;
}

/// Elements of what a layer needs beside its rows: q, attention output, k and v, or later a slice's gate and up.
int64_t scratch_elements(const EngineState& state, int64_t visual_rows, int64_t text_rows) {
  const DecoderSpec& spec = state.spec.text;
  const int64_t rows = visual_rows + text_rows;
  int64_t elements = rows * 2 * (spec.num_attention_heads + spec.num_key_value_heads) * spec.head_dim;
  if (visual_rows == 0) return std::max(elements, 2 * slice_rows(rows) * spec.intermediate_size);
  for (const LayerSlices& layer : state.layers) {
    if (layer.counts.neurons > 0) elements = std::max(elements, 2 * slice_rows(rows) * layer.counts.neurons);
    elements = std::max(elements, 2 * slice_rows(text_rows) * (spec.intermediate_size - layer.counts.neurons));
    elements = std::max(elements, visual_rows * layer.counts.rank);
  }
  return elements;
}

template <typename T>
Buffer upload(const EngineState& state, const std::vector<T>& values) {
  Buffer buffer(*state.ops, values.size() * sizeof(T), &state.memory);
  if (!values.empty()) state.ops->upload(buffer.data(), values.data(), values.size() * sizeof(T));
  return buffer;
}

}  // namespace

/// out[rows] (+)= a[rows] w[first row .. + n, first column .. + k]^T; `a` and `out` point at row 0.
struct Decoder::Part {
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

Decoder::Decoder(const EngineState& state, std::vector<Request*> requests, const Layout* layout)
    : s_(state), spec_(state.spec.text), type_(state.type()), requests_(std::move(requests)), layout_(layout) {
  visual_rows_ = layout ? layout->visual_rows : 0;
  text_rows_ = layout ? layout->text_rows : int64_t(requests_.size());
  const int64_t width = spec_.num_attention_heads * spec_.head_dim,
                kv_width = spec_.num_key_value_heads * spec_.head_dim;
  x_ = s_.buffer(rows() * spec_.hidden_size, DType::F32);
  if (visual_rows_ > 0 && s_.spec.deep_taps() > 0)
    deep_ = s_.buffer(s_.spec.deep_taps() * visual_rows_ * spec_.hidden_size, DType::F32);
  normed_ = s_.buffer(rows() * spec_.hidden_size, type_);
  scratch_ = s_.buffer(scratch_elements(state, visual_rows_, text_rows_), type_);
  q_ = scratch_.data();
  out_ = offset(q_, type_, rows() * width);
  k_ = offset(out_, type_, rows() * width);
  v_ = offset(k_, type_, rows() * kv_width);
  cos_ = s_.buffer(rows() * spec_.head_dim / 2, DType::F32);
  sin_ = s_.buffer(rows() * spec_.head_dim / 2, DType::F32);
  if (layout) {
    before_ = upload(s_, layout->before);
    image_of_ = upload(s_, layout->image_of);
    images_ = upload(s_, layout->images);
  } else {
    counts_ = s_.buffer(text_rows_, DType::I32);
  }
  pairs_ = upload(s_, std::vector<uint64_t>{0});
}

int64_t Decoder::bytes(const EngineState& state, int64_t visual_rows, int64_t text_rows, int64_t images) {
  const DecoderSpec& spec = state.spec.text;
  const int64_t element = int64_t(size_of(state.type()));
  const int64_t row =
      spec.hidden_size * (4 + element) + spec.head_dim * 4 + 8;  // x, its normed copy, rotary table, places
  const int64_t deep = state.spec.deep_taps() * visual_rows * spec.hidden_size * 4;
  return (visual_rows + text_rows) * row + deep + scratch_elements(state, visual_rows, text_rows) * element +
         images * int64_t(sizeof(ImageGrid)) + int64_t(sizeof(uint64_t));
}

void Decoder::upload_rotation(const std::vector<float>& cos, const std::vector<float>& sin) {
  s_.ops->upload(cos_.data(), cos.data(), cos.size() * sizeof(float));
  s_.ops->upload(sin_.data(), sin.data(), sin.size() * sizeof(float));
}

void Decoder::place(const std::vector<ModelInput>& inputs, const std::vector<int64_t>& lengths) {
  const size_t half = size_t(spec_.head_dim / 2);
  std::vector<float> cos(size_t(rows()) * half), sin(cos.size());
  for (size_t i = 0; i < inputs.size(); ++i) {  // tables are in sequence order, rows are not
    const RopeTable table = rope_table(spec_, inputs[i].position_ids, inputs[i].position_axes, lengths[i]);
    const std::vector<int64_t>& row_of = layout_->requests[i].row_of;
    for (size_t token = size_t(layout_->shared_tokens(i)); token < row_of.size(); ++token) {
      std::copy_n(table.cos.begin() + std::ptrdiff_t(token * half), half, cos.begin() + row_of[token] * int64_t(half));
      std::copy_n(table.sin.begin() + std::ptrdiff_t(token * half), half, sin.begin() + row_of[token] * int64_t(half));
    }
  }
  upload_rotation(cos, sin);
}

void Decoder::place_next() {
  std::vector<float> cos, sin;
  std::vector<int32_t> counts;
  for (const Request* request : requests_) {
    const RopeTable table = rope_table(spec_, {&request->next_position, 1}, 1, request->length + 1);
    cos.insert(cos.end(), table.cos.begin(), table.cos.end());
    sin.insert(sin.end(), table.sin.begin(), table.sin.end());
    counts.push_back(int32_t(request->cache.text_count()));
  }
  upload_rotation(cos, sin);
  s_.ops->upload(counts_.data(), counts.data(), counts.size() * sizeof(int32_t));
}

void Decoder::issue_layers(Cost& cost, const std::function<void(int64_t)>& hidden_after, int64_t first, int64_t end) {
  cost_ = &cost;
  if (end < 0) end = spec_.num_hidden_layers;
  for (int64_t l = first; l < end; ++l) {
    layer_ = l;
    slices_ = &s_.layers[size_t(l)];
    w_ = &s_.weights->layers->at(l);
    attention();
    ffn();
    add_deep();
    if (hidden_after) hidden_after(l);
    s_.step();
  }
}

void Decoder::watch_visual_rows(std::function<void(int64_t, const void*, float*)> watch) {
  ensure(s_.ops->host_memory, "rows are watched on the host");
  watch_ = std::move(watch);
}

void Decoder::watch_queries(int64_t layer, std::function<void(const void*)> watch) {
  queries_layer_ = layer;
  watch_queries_ = std::move(watch);
}

double Decoder::take_attention_macs() {
  uint64_t pairs = 0;
  const uint64_t none = 0;
  s_.ops->download(&pairs, pairs_.data(), sizeof pairs);
  s_.ops->upload(pairs_.data(), &none, sizeof none);
  return 2.0 * double(spec_.head_dim) * double(pairs);
}

void Decoder::multiply(const Part& part, int64_t row, int64_t rows, double& macs) {
  if (rows <= 0 || part.n <= 0 || part.k <= 0) return;
  Gemm gemm;
  gemm.type = type_;
  gemm.m = rows;
  gemm.lda = part.lda, gemm.ldo = part.ldo;
  gemm.out_type = part.out_type;
  gemm.accumulate = part.accumulate;
  for (const Piece& piece : pieces_of(part.w, type_, part.w_row, part.n, part.w_column, part.k)) {
    const int64_t at = piece.row - part.w_row, in = piece.column - part.w_column;
    ensure(in == 0 || part.accumulate, "pieces along the columns are added up");
    gemm.n = piece.n, gemm.k = piece.k;
    gemm.w = piece.data, gemm.ldw = piece.ld, gemm.packed = piece.packed;
    gemm.a = offset(part.a, type_, row * part.lda + in);
    gemm.bias = part.bias ? part.bias + at : nullptr;
    gemm.out = offset(part.out, part.out_type, row * part.ldo + at);
    s_.ops->gemm(gemm);
  }
  macs += double(rows) * double(part.n) * double(part.k);
}

/// Columns [first, first + n) of out = a w^T + bias.
void Decoder::project(const Matrix& w, const float* bias, void* out, int64_t first, int64_t n, int64_t row,
                      int64_t rows) {
  multiply({normed_.data(), spec_.hidden_size, w, first, n, 0, spec_.hidden_size, bias ? bias + first : nullptr, type_,
            offset(out, type_, first), w.rows, false},
           row, rows, cost_->projections);
}

void Decoder::normalise(const float* weight, bool with_visual) {
  const int64_t row = with_visual ? 0 : visual_rows_, count = rows() - row;
  if (count > 0)
    s_.ops->rms_norm(x() + row * spec_.hidden_size, weight, spec_.rms_norm_eps, count, spec_.hidden_size, type_,
                     offset(normed_.data(), type_, row * spec_.hidden_size));
}

void Decoder::attention() {
  const int64_t dim = spec_.head_dim, text = visual_rows_;
  const int64_t width = spec_.num_attention_heads * dim, kv_width = spec_.num_key_value_heads * dim;
  normalise(w_->input_norm, slices_->counts.kv_heads > 0);
  // Without visual rows nothing need be told apart: whole matrices, fewer products.
  const std::vector<Run> none, all{{0, spec_.num_attention_heads}};
  const std::vector<Run>& updated = visual_rows_ > 0 ? slices_->updated_runs : none;
  const std::vector<Run>& other = visual_rows_ > 0 ? slices_->other_runs : all;
  for (const Run& run : updated) project(w_->q, w_->q_bias, q_, run.first * dim, run.count * dim, 0, rows());
  for (const Run& run : other) project(w_->q, w_->q_bias, q_, run.first * dim, run.count * dim, text, text_rows_);
  const int64_t shared = visual_rows_ > 0 ? slices_->counts.kv_heads * dim : 0;
  project(w_->k, w_->k_bias, k_, 0, shared, 0, rows());
  project(w_->k, w_->k_bias, k_, shared, kv_width - shared, text, text_rows_);
  project(w_->v, w_->v_bias, v_, 0, shared, 0, rows());
  project(w_->v, w_->v_bias, v_, shared, kv_width - shared, text, text_rows_);

  norm_keys(shared / dim);
  const auto turn = [&](int64_t head, int64_t heads, int64_t row, int64_t count) {
    void* at = offset(q_, type_, row * width + head * dim);
    if (w_->q_norm) s_.ops->norm_heads(at, type_, count, heads, dim, width, w_->q_norm, spec_.rms_norm_eps);
    s_.ops->rope(at, type_, count, heads, dim, width, cos_.as<float>() + row * dim / 2,
                 sin_.as<float>() + row * dim / 2);
  };
  if (visual_rows_ > 0)
    for (const Run& run : updated) turn(run.first, run.count, 0, visual_rows_);
  if (text_rows_ > 0) turn(0, spec_.num_attention_heads, text, text_rows_);
  store_keys();
  attend();
  if (layer_ == queries_layer_) watch_queries_(q_);

  const auto add = [&](const Run& run, int64_t row, int64_t count) {
    multiply({offset(out_, type_, run.first * dim), width, w_->o, 0, spec_.hidden_size, run.first * dim,
              run.count * dim, nullptr, DType::F32, x_.data(), spec_.hidden_size, true},
             row, count, cost_->projections);
  };
  for (const Run& run : updated) add(run, 0, rows());
  for (const Run& run : other) add(run, text, text_rows_);
  // A living layer adds it to visual rows also where no head is updated.
  const int64_t first = slices_->plan.alive ? 0 : text;
  if (w_->o_bias && rows() > first)
    s_.ops->add_bias(x() + first * spec_.hidden_size, w_->o_bias, rows() - first, spec_.hidden_size);
}

/// Of the first `shared` heads in visual rows, of all in text rows. Keys turn on their way into the cache.
void Decoder::norm_keys(int64_t shared) {
  if (!w_->k_norm) return;
  const int64_t dim = spec_.head_dim, heads = spec_.num_key_value_heads, width = heads * dim;
  const auto norm = [&](int64_t row, int64_t rows, int64_t count) {
    if (rows > 0 && count > 0)
      s_.ops->norm_heads(offset(k_, type_, row * width), type_, rows, count, dim, width, w_->k_norm,
                         spec_.rms_norm_eps);
  };
  norm(0, visual_rows_, shared);
  norm(visual_rows_, text_rows_, heads);
}

std::vector<DecodeRequest> Decoder::decode_requests() const {
  std::vector<DecodeRequest> requests;
  for (const Request* request : requests_)
    requests.push_back({request->cache.visual(layer_), request->cache.text(layer_, request->cache.text_capacity())});
  return requests;
}

void Decoder::store_keys() {
  const float *cos = cos_.as<float>(), *sin = sin_.as<float>();
  if (!layout_) {
    const std::vector<DecodeRequest> requests = decode_requests();
    s_.ops->store_decode(
        {type_, spec_.num_key_value_heads, spec_.head_dim, k_, v_, cos, sin, counts_.as<int32_t>(), requests});
    return;
  }
  std::vector<StoreRows> targets;
  for (size_t i = 0; i < requests_.size(); ++i) {
    const KvCache& cache = requests_[i]->cache;
    const RequestRows& rows = layout_->requests[i];
    const KvSegment visual = cache.visual(layer_), text = cache.text(layer_, rows.text_before + rows.text_rows);
    if (visual.count > 0 && rows.visual_rows > 0) targets.push_back({rows.visual_row, rows.visual_rows, 0, visual});
    // The text of a shared prefix is a few rows, copied to everyone; the visual part is read where it lies.
    if (rows.text_before > 0)
      targets.push_back({layout_->requests[size_t(rows.leader)].text_row, rows.text_before, 0, text});
    if (rows.text_rows > 0) targets.push_back({rows.text_row, rows.text_rows, rows.text_before, text});
  }
  s_.ops->store(k_, v_, type_, spec_.num_key_value_heads * spec_.head_dim, spec_.head_dim, cos, sin, targets);
}

void Decoder::attend() {
  double elsewhere = 0;
  const Stopwatch watch(s_.ops->host_memory ? s_.counters.attention_seconds : elsewhere);
  const auto describe = [&](auto& work) {
    work.type = type_;
    work.heads = spec_.num_attention_heads;
    work.kv_heads = spec_.num_key_value_heads;
    work.head_dim = spec_.head_dim;
    work.q = q_;
    work.out = out_;
    work.kept = s_.head_flags[size_t(layer_)].first.as<uint8_t>();
    work.pairs = pairs_.as<uint64_t>();
  };
  if (!layout_) {
    const std::vector<DecodeRequest> requests = decode_requests();
    DecodeAttention work;
    describe(work);
    work.counts = counts_.as<int32_t>();
    work.requests = requests;
    s_.ops->decode_attention(work);
    return;
  }
  std::vector<PrefillRequest> requests;
  for (size_t i = 0; i < requests_.size(); ++i) {
    const RequestRows& rows = layout_->requests[i];
    const KvCache& cache = requests_[i]->cache;
    PrefillRequest& request = requests.emplace_back();
    request.visual_row = rows.visual_row;
    request.visual_rows = slices_->updates() ? rows.visual_rows : 0;
    request.text_row = rows.text_row;
    request.text_rows = rows.text_rows;
    request.text_before = rows.text_before;
    request.visual_before_text = before_.as<int32_t>() + rows.text_row;
    request.text_before_visual = before_.as<int32_t>() + rows.visual_row;
    request.image_of_visual = image_of_.as<int32_t>() + rows.visual_row;
    request.images = images_.as<ImageGrid>() + rows.first_image;
    request.visual = cache.visual(layer_);
    request.text = cache.text(layer_, rows.text_before + rows.text_rows);
  }
  PrefillAttention work;
  describe(work);
  work.updated = s_.head_flags[size_t(layer_)].second.as<uint8_t>();
  if (const auto& window = slices_->plan.window) {
    work.window_radius = (window->size - 1) / 2;
    work.window_causal = window->causal;
  }
  work.requests = requests;
  s_.ops->prefill_attention(work);
}

void Decoder::ffn() {
  const int64_t shared = visual_rows_ > 0 ? slices_->counts.neurons : 0;
  const bool compensated = visual_rows_ > 0 && slices_->plan.alive && slices_->plan.compensation;
  const bool watched = visual_rows_ > 0 && slices_->plan.alive && watch_;
  normalise(w_->post_norm, shared > 0 || compensated || watched);
  neurons(0, shared, 0, rows());
  neurons(shared, spec_.intermediate_size - shared, visual_rows_, text_rows_);
  if (compensated) compensate();
  if (watched) watch_(layer_, normed_.data(), x());
}

/// x[visual rows] += what a later tap of the tower gave them, where they still go on.
void Decoder::add_deep() {
  if (!deep_.data() || layer_ >= s_.spec.deep_taps() || !slices_->plan.alive) return;
  const int64_t count = visual_rows_ * spec_.hidden_size;
  s_.ops->add_bias(x(), deep_.as<float>() + layer_ * count, 1, count);
}

/// x[visual rows] += up (down normed) + bias (plans/plan.h, Compensation).
void Decoder::compensate() {
  const LayerCompensation& added = s_.compensation[size_t(layer_)];
  const int64_t hidden = spec_.hidden_size;
  if (added.rank > 0) {
    const Matrix down{added.down.data(), added.rank, hidden}, up{added.up.data(), hidden, added.rank};
    void* inner = scratch_.data();
    multiply({normed_.data(), hidden, down, 0, added.rank, 0, hidden, nullptr, type_, inner, added.rank, false}, 0,
             visual_rows_, cost_->ffn);
    multiply({inner, added.rank, up, 0, hidden, 0, added.rank, nullptr, DType::F32, x(), hidden, true}, 0, visual_rows_,
             cost_->ffn);
  }
  s_.ops->add_bias(x(), added.bias.as<float>(), visual_rows_, hidden);
}

/// x[rows] += down(silu(gate) * up) over neurons [first, first + count).
void Decoder::neurons(int64_t first, int64_t count, int64_t row, int64_t rows) {
  if (count == 0 || rows == 0) return;
  const int64_t hidden = spec_.hidden_size, slice = slice_rows(rows);
  for (const int64_t end = row + rows; row < end; row += slice) {
    const int64_t here = std::min(slice, end - row);
    void* gate = scratch_.data();
    void* up = offset(gate, type_, here * count);
    const void* in = offset(normed_.data(), type_, row * hidden);
    multiply({in, hidden, w_->gate, first, count, 0, hidden, nullptr, type_, gate, count, false}, 0, here, cost_->ffn);
    multiply({in, hidden, w_->up, first, count, 0, hidden, nullptr, type_, up, count, false}, 0, here, cost_->ffn);
    s_.ops->gated(gate, up, type_, here * count);
    multiply({gate, count, w_->down, 0, hidden, first, count, nullptr, DType::F32, x() + row * hidden, hidden, true}, 0,
             here, cost_->ffn);
  }
}

void Decoder::issue_head(std::span<const int64_t> rows, float* logits, Cost& cost) {
  const int64_t hidden = spec_.hidden_size, count = int64_t(rows.size());
  ensure(count <= this->rows(), "at most the logits of every row");
  for (int64_t i = 0; i < count;) {  // runs of neighbouring rows in one call
    int64_t run = 1;
    while (i + run < count && rows[size_t(i + run)] == rows[size_t(i)] + run) ++run;
    s_.ops->rms_norm(x() + rows[size_t(i)] * hidden, s_.weights->decoder.final_norm, spec_.rms_norm_eps, run, hidden,
                     type_, offset(normed_.data(), type_, i * hidden));
    i += run;
  }
  multiply({normed_.data(), hidden, s_.weights->decoder.head, 0, spec_.vocab_size, 0, hidden, nullptr, DType::F32,
            logits, spec_.vocab_size, false},
           0, count, cost.head);
}

}  // namespace yopo::runtime
