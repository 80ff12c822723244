// One layer of the skipping forward: rows lie visual first, weights in prefix form, so that what visual rows share with
// text rows is one product over all rows and a prefix of the weights, the rest a second one over the text rows alone.
#include <algorithm>

#include "core/error.h"
#include "runtime/decoder.h"

namespace yopo::runtime {

void Decoder::normalise(const float* weight, bool with_visual) {
  const int64_t row = with_visual ? 0 : visual_rows_, count = rows() - row;
  if (count > 0)
    s_.ops->rms_norm(x() + row * spec_.hidden_size, weight, spec_.rms_norm_eps, count, spec_.hidden_size, type_,
                     offset(normed_.data(), type_, row * spec_.hidden_size));
}

Decoder::Rows Decoder::rows_of(bool visual) const { return visual ? Rows{0, rows()} : Rows{visual_rows_, text_rows_}; }

/// Whether visual rows go into what merged weights are split at, and into what lies behind.
Decoder::Sides Decoder::sides(Reach reach) const {
  return {visual_rows_ > 0 && reach != Reach::None, visual_rows_ > 0 && reach == Reach::All};
}

/// n columns of q, k and v from `column` on = normed rows x rows [first, first + n) of w.
void Decoder::project_rows(const Matrix& w, const float* bias, int64_t column, int64_t first, int64_t n, bool visual) {
  const Rows rows = rows_of(visual);
  multiply({normed_.data(), spec_.hidden_size, w, first, n, 0, spec_.hidden_size, bias ? bias + first : nullptr, type_,
            offset(qkv_, type_, column), columns_->stride, false},
           rows.first, rows.count, cost_->projections);
}

void Decoder::project_merged() {
  const Sides side = sides(merged_->reaches.heads);
  const int64_t split = columns_->split, all = columns_->stride;
  if (side.split == side.rest) {
    project_rows(w_->qkv, w_->qkv_bias, 0, 0, all, side.split);
    return;
  }
  project_rows(w_->qkv, w_->qkv_bias, 0, 0, split, side.split);
  project_rows(w_->qkv, w_->qkv_bias, split, split, all - split, side.rest);
}

void Decoder::project() {
  if (merged_) return project_merged();
  const int64_t dim = spec_.head_dim, kv_width = spec_.num_key_value_heads * dim;
  for (const Run& run : updated_)
    project_rows(w_->q, w_->q_bias, run.first * dim, run.first * dim, run.count * dim, true);
  for (const Run& run : others_)
    project_rows(w_->q, w_->q_bias, run.first * dim, run.first * dim, run.count * dim, false);
  const int64_t shared = visual_rows_ > 0 ? slices_->counts.kv_heads * dim : 0;
  project_rows(w_->k, w_->k_bias, columns_->k, 0, shared, true);
  project_rows(w_->k, w_->k_bias, columns_->k + shared, shared, kv_width - shared, false);
  project_rows(w_->v, w_->v_bias, columns_->v, 0, shared, true);
  project_rows(w_->v, w_->v_bias, columns_->v + shared, shared, kv_width - shared, false);
}

/// Normalises and rotates the queries that are there.
void Decoder::turn_queries() {
  const int64_t dim = spec_.head_dim, stride = columns_->stride;
  const auto turn = [&](int64_t column, int64_t heads, const Rows& rows) {
    if (heads == 0 || rows.count == 0) return;
    void* at = offset(qkv_, type_, rows.first * stride + column);
    if (w_->q_norm) s_.ops->norm_heads(at, type_, rows.count, heads, dim, stride, w_->q_norm, spec_.rms_norm_eps);
    s_.ops->rope(at, type_, rows.count, heads, dim, stride, cos_.as<float>() + rows.first * dim / 2,
                 sin_.as<float>() + rows.first * dim / 2);
  };
  if (merged_) {
    const Sides side = sides(merged_->reaches.heads);
    const int64_t updated = columns_->v / dim;
    turn(0, updated, rows_of(side.split));
    turn(columns_->others, spec_.num_attention_heads - updated, rows_of(side.rest));
    return;
  }
  if (visual_rows_ > 0)
    for (const Run& run : updated_) turn(run.first * dim, run.count, {0, visual_rows_});
  turn(0, spec_.num_attention_heads, rows_of(false));
}

/// x[rows] += o over the heads that they have.
void Decoder::add_out() {
  const int64_t dim = spec_.head_dim, width = spec_.num_attention_heads * dim;
  const auto add = [&](const Run& run, bool visual) {
    const Rows rows = rows_of(visual);
    multiply({offset(out_, type_, run.first * dim), width, w_->o, 0, spec_.hidden_size, run.first * dim,
              run.count * dim, nullptr, DType::F32, x_.data(), spec_.hidden_size, true},
             rows.first, rows.count, cost_->projections);
  };
  if (merged_) {
    const Sides side = sides(merged_->reaches.heads);
    const int64_t updated = columns_->v / dim, all = spec_.num_attention_heads;
    if (side.split == side.rest) {
      add({0, all}, side.split);
    } else {
      add({0, updated}, side.split);
      add({updated, all - updated}, side.rest);
    }
  } else {
    for (const Run& run : updated_) add(run, true);
    for (const Run& run : others_) add(run, false);
  }
  // A living layer adds it to visual rows also where no head is updated.
  const Rows rows = rows_of(slices_->plan.alive);
  if (w_->o_bias && rows.count > 0)
    s_.ops->add_bias(x() + rows.first * spec_.hidden_size, w_->o_bias, rows.count, spec_.hidden_size);
}

void Decoder::attention() {
  normalise(w_->input_norm, slices_->counts.kv_heads > 0);
  // Without visual rows nothing need be told apart: whole matrices, fewer products.
  updated_.clear(), others_.assign(1, Run{0, spec_.num_attention_heads});
  if (visual_rows_ > 0) updated_ = slices_->updated_runs, others_ = slices_->other_runs;
  project();
  norm_keys(visual_rows_ > 0 ? slices_->counts.kv_heads : 0);
  turn_queries();
  store_keys();
  attend();
  if (layer_ == queries_layer_) watch_queries_({qkv_, columns_->stride, columns_->q});
  add_out();
}

/// Of the first `shared` heads in visual rows, of all in text rows. Keys turn on their way into the cache.
void Decoder::norm_keys(int64_t shared) {
  if (!w_->k_norm) return;
  const int64_t stride = columns_->stride;
  const auto norm = [&](int64_t row, int64_t rows, int64_t count) {
    if (rows > 0 && count > 0)
      s_.ops->norm_heads(offset(qkv_, type_, row * stride + columns_->k), type_, rows, count, spec_.head_dim, stride,
                         w_->k_norm, spec_.rms_norm_eps);
  };
  norm(0, visual_rows_, shared);
  norm(visual_rows_, text_rows_, spec_.num_key_value_heads);
}

KvRows Decoder::kv_rows() const {
  return {offset(qkv_, type_, columns_->k), offset(qkv_, type_, columns_->v), offset(qkv_, type_, columns_->v_rest),
          columns_->v_heads, columns_->stride};
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
        {type_, spec_.num_key_value_heads, spec_.head_dim, kv_rows(), cos, sin, counts_.as<int32_t>(), requests});
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
  s_.ops->store(kv_rows(), type_, spec_.head_dim, cos, sin, targets);
}

void Decoder::attend() {
  double elsewhere = 0;
  const Stopwatch watch(s_.ops->host_memory ? s_.counters.attention_seconds : elsewhere);
  const auto describe = [&](auto& work) {
    work.type = type_;
    work.heads = spec_.num_attention_heads;
    work.kv_heads = spec_.num_key_value_heads;
    work.head_dim = spec_.head_dim;
    work.q = qkv_, work.out = out_;
    work.q_places.stride = columns_->stride;
    work.out_places.stride = spec_.num_attention_heads * spec_.head_dim;
    if (merged_) {
      work.q_places.column = merged_->q.as<int32_t>();
      work.out_places.column = merged_->out.as<int32_t>();
    }
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
  if (merged_) {
    const Sides side = sides(merged_->reaches.neurons);
    const Run first{0, merged_->neurons}, others{merged_->neurons, spec_.intermediate_size - merged_->neurons};
    if (side.split == side.rest) {
      neurons({first, others}, rows_of(side.split));
    } else {
      neurons({first}, rows_of(side.split));
      neurons({others}, rows_of(side.rest));
    }
  } else {
    neurons({{0, shared}}, rows_of(true));
    neurons({{shared, spec_.intermediate_size - shared}}, rows_of(false));
  }
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

/// x[rows] += down(silu(gate) * up) over neurons that follow one another; of merged weights each run has its gate and
/// up side by side, of others there is one run.
void Decoder::neurons(std::initializer_list<Run> runs, const Rows& rows) {
  const int64_t hidden = spec_.hidden_size, first = runs.begin()->first;
  int64_t count = 0;
  for (const Run& run : runs) count += run.count;
  if (count == 0 || rows.count == 0) return;
  ensure(merged_ || runs.size() == 1, "runs of neurons are merged weights'");
  const int64_t slice = slice_rows(rows.count), width = 2 * count;
  for (int64_t row = rows.first, end = row + rows.count; row < end; row += slice) {
    const int64_t here = std::min(slice, end - row);
    const void* in = offset(normed_.data(), type_, row * hidden);
    const auto project = [&](const Matrix& w, int64_t w_row, int64_t n, int64_t column) {
      multiply(
          {in, hidden, w, w_row, n, 0, hidden, nullptr, type_, offset(scratch_.data(), type_, column), width, false}, 0,
          here, cost_->ffn);
    };
    if (merged_) {
      project(w_->gate_up, 2 * first, width, 0);
    } else {
      project(w_->gate, first, count, 0);
      project(w_->up, first, count, count);
    }
    void* products = offset(scratch_.data(), type_, here * width);
    int64_t column = 0;
    for (const Run& run : runs) {
      if (run.count == 0) continue;
      const void* gate = offset(scratch_.data(), type_, column);
      s_.ops->gated(gate, offset(gate, type_, run.count), type_, here, run.count, width, products);
      multiply({products, run.count, w_->down, 0, hidden, run.first, run.count, nullptr, DType::F32, x() + row * hidden,
                hidden, true},
               0, here, cost_->ffn);
      column += 2 * run.count;
    }
  }
}

}  // namespace yopo::runtime
