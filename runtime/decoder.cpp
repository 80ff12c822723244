// The skipping forward: what a batch needs, then layer after layer (decoder_layer.cpp), then the head.
#include "runtime/decoder.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "models/rope.h"

namespace yopo::runtime {
namespace {

/// Elements of what a layer needs beside its rows: q, k, v and attention's output, or later a slice's gate, up and
/// their product.
int64_t scratch_elements(const EngineState& state, int64_t visual_rows, int64_t text_rows) {
  const DecoderSpec& spec = state.spec.text;
  const int64_t rows = visual_rows + text_rows;
  int64_t elements = rows * 2 * (spec.num_attention_heads + spec.num_key_value_heads) * spec.head_dim;
  if (visual_rows == 0) return std::max(elements, 3 * Decoder::slice_rows(rows) * spec.intermediate_size);
  for (const LayerSlices& layer : state.layers) {
    if (layer.counts.neurons > 0) elements = std::max(elements, 3 * Decoder::slice_rows(rows) * layer.counts.neurons);
    elements = std::max(elements, 3 * Decoder::slice_rows(text_rows) * (spec.intermediate_size - layer.counts.neurons));
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

int64_t Decoder::slice_rows(int64_t rows) {
  constexpr int64_t most = 2048;
  const int64_t slices = (rows + most - 1) / most;
  return slices ? (rows + slices - 1) / slices : 0;
}

Decoder::Decoder(const EngineState& state, std::vector<Request*> requests, const Layout* layout)
    : s_(state),
      spec_(state.spec.text),
      type_(state.type()),
      requests_(std::move(requests)),
      layout_(layout),
      apart_(columns_of(whole_split(spec_), spec_)) {
  visual_rows_ = layout ? layout->visual_rows : 0;
  text_rows_ = layout ? layout->text_rows : int64_t(requests_.size());
  x_ = s_.buffer(rows() * spec_.hidden_size, DType::F32);
  if (visual_rows_ > 0 && s_.spec.deep_taps() > 0)
    deep_ = s_.buffer(s_.spec.deep_taps() * visual_rows_ * spec_.hidden_size, DType::F32);
  normed_ = s_.buffer(rows() * spec_.hidden_size, type_);
  scratch_ = s_.buffer(scratch_elements(state, visual_rows_, text_rows_), type_);
  qkv_ = scratch_.data();
  out_ = offset(qkv_, type_, rows() * apart_.stride);
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
    merged_ = w_->merged() ? &s_.columns[size_t(l)] : nullptr;
    columns_ = merged_ ? &merged_->at : &apart_;
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

void Decoder::watch_queries(int64_t layer, std::function<void(const Queries&)> watch) {
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
