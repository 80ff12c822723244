// The skipping decoder over one batch of rows: allocates once, then only issues work. Private to runtime/.
#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "runtime/state.h"

namespace yopo::runtime {

class Decoder {
 public:
  /// For a prefill (`layout` says where rows belong and outlives this) or, with a null layout, for decode steps in
  /// which row i is the next text token of requests[i].
  Decoder(const EngineState& state, std::vector<Request*> requests, const Layout* layout);

  /// No less than what the constructor allocates for such a batch.
  static int64_t bytes(const EngineState& state, int64_t visual_rows, int64_t text_rows, int64_t images);

  /// Where input embeddings go and hidden rows come out: [rows, hidden] fp32 on the device, visual rows first.
  float* x() const { return x_.as<float>(); }
  /// What later taps of the tower add to the visual rows behind the first layers goes here.
  DeepRows deep() const { return {deep_.as<float>(), visual_rows_}; }
  int64_t deep_bytes() const { return int64_t(deep_.bytes()); }
  int64_t rows() const { return visual_rows_ + text_rows_; }

  /// Uploads what depends on where in their sequences the rows are: the rotary tables of a prefill's inputs, or of a
  /// decode step's next tokens with each request's count of text rows so far. Of inputs that tokens were dropped from,
  /// `lengths` are those before: scalings look at the whole request.
  void place(const std::vector<ModelInput>& inputs, const std::vector<int64_t>& lengths);
  void place_next();

  /// Issues all layers from `first` on: writes keys and values into the requests' caches, adds the multiply-adds of its
  /// matrix products to `cost`; those of attention are counted on the device, see take_pairs. `hidden_after(layer)`, if
  /// any, runs after each layer. Up to `end`; -1: to the last.
  void issue_layers(Cost& cost, const std::function<void(int64_t layer)>& hidden_after = {}, int64_t first = 0,
                    int64_t end = -1);

  /// Hears of each layer that is alive when it is done: the visual rows as the FFN read them, and x, where they may be
  /// changed. For devices whose memory is the host's.
  void watch_visual_rows(std::function<void(int64_t layer, const void* normed, float* x)> watch);

  /// Hears of layer `layer` when attention is done: where each head's query, rotated, begins in a row of heads on the
  /// device.
  struct Queries {
    const void* q;
    int64_t stride;
    std::vector<int32_t> column;  // [heads]
  };
  void watch_queries(int64_t layer, std::function<void(const Queries& queries)> watch);

  /// Issues final norm and head for these rows of x: logits [rows.size(), vocab] fp32 on the device. At most as many as
  /// rows().
  void issue_head(std::span<const int64_t> rows, float* logits, Cost& cost);

  /// Multiply-adds of the attention issued since the last call. Waits for it.
  double take_attention_macs();

  /// The pieces that `rows` rows of an FFN are cut into: bounds its memory, long enough for full speed.
  static int64_t slice_rows(int64_t rows);

 private:
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
  struct Rows {
    int64_t first, count;
  };
  struct Sides {
    bool split, rest;
  };
  void upload_rotation(const std::vector<float>& cos, const std::vector<float>& sin);
  std::vector<DecodeRequest> decode_requests() const;
  void multiply(const Part& part, int64_t row, int64_t rows, double& macs);
  void project();
  Rows rows_of(bool visual) const;
  Sides sides(Reach reach) const;
  void project_rows(const Matrix& w, const float* bias, int64_t column, int64_t first, int64_t n, bool visual);
  void project_merged();
  void normalise(const float* weight, bool with_visual);
  void attention();
  void turn_queries();
  void norm_keys(int64_t shared);
  void add_out();
  KvRows kv_rows() const;
  void store_keys();
  void attend();
  void ffn();
  void compensate();
  void add_deep();
  void neurons(std::initializer_list<Run> runs, const Rows& rows);

  const EngineState& s_;
  const DecoderSpec& spec_;
  DType type_;
  std::vector<Request*> requests_;
  const Layout* layout_;
  int64_t visual_rows_ = 0, text_rows_ = 0;
  Buffer x_;                           // [rows, hidden] fp32
  Buffer deep_;                        // [deep taps, visual rows, hidden] fp32; prefill only
  Buffer normed_;                      // [rows, hidden]
  Buffer scratch_;                     // q, attention output, k, v; or gate and up
  void* qkv_ = nullptr;                // [rows, (heads + 2 kv_heads) * head_dim] in the order of columns_
  void* out_ = nullptr;                // [rows, heads * head_dim]
  Buffer cos_, sin_;                   // [rows, head_dim / 2]
  Buffer before_, image_of_, images_;  // Layout's, on the device; prefill only
  Buffer counts_;                      // [requests] int32 text rows so far; decode only
  Buffer pairs_;                       // one uint64
  int64_t layer_ = 0;
  const LayerSlices* slices_ = nullptr;
  const HeadColumns* merged_ = nullptr;  // null: the layer's weights stand apart
  LayerColumns apart_;                   // then these are its columns
  const LayerColumns* columns_ = nullptr;
  std::vector<Run> updated_, others_;  // of them: heads that all rows compute, and text rows alone
  const DecoderLayerWeights* w_ = nullptr;
  Cost* cost_ = nullptr;
  std::function<void(int64_t, const void*, float*)> watch_;
  int64_t queries_layer_ = -1;
  std::function<void(const Queries&)> watch_queries_;
};

}  // namespace yopo::runtime
