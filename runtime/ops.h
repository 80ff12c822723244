// What the forward asks of a device: one table of plain functions over raw pointers and shapes. runtime/cpu/ops.cpp
// fills it for the CPU; another device fills its own and the forward (decoder.cpp, vision.cpp) stays as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "models/spec.h"

namespace yopo::runtime {

/// out [m, n] (+)= a [m, k] x w [n, k]^T (+ bias). Multiply-adds: m n k.
struct Gemm {
  DType type = DType::F32;  // of a and w: F32, BF16 or F16, as the device has them
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;  // [m, k], rows lda elements apart
  int64_t lda = 0;
  const void* w = nullptr;  // [n, k], rows ldw elements apart
  int64_t ldw = 0;
  bool packed = false;          // w is what Ops::pack made of [n, k], or the first n rows of more; no ldw then
  const float* bias = nullptr;  // [n] or null
  DType out_type = DType::F32;  // F32 or `type`
  void* out = nullptr;          // [m, n], rows ldo elements apart
  int64_t ldo = 0;
  bool accumulate = false;  // adds to out; needs out_type F32 and no bias
};

/// Key and value rows of one request in one layer: [heads][stride][head_dim], the first `count` of each head in use.
struct KvSegment {
  void* keys = nullptr;
  void* values = nullptr;
  int64_t heads = 0;
  int64_t stride = 0;  // rows that each head has room for
  int64_t count = 0;   // rows in use
};

/// Where rows of heads stand: head h of row i begins at element i * stride + (column ? column[h] : h * head_dim).
struct HeadPlaces {
  int64_t stride = 0;
  const int32_t* column = nullptr;  // [heads], on the device
};

/// Keys and values side by side, rows `stride` elements apart: the key of head h at k + h * head_dim, its value at v,
/// or from head `v_heads` on at v_rest, + h * head_dim.
struct KvRows {
  const void *k = nullptr, *v = nullptr, *v_rest = nullptr;
  int64_t v_heads = 0;
  int64_t stride = 0;
};

/// Appends `rows` rows of one request to a segment: keys are rotated on the way, values copied.
struct StoreRows {
  int64_t row = 0;  // first row in the key and value buffers and in the rotary table
  int64_t rows = 0;
  int64_t at = 0;  // first row in the segment
  KvSegment segment;
};

/// An image among a request's visual rows: [first, first + rows * columns), row-major.
struct ImageGrid {
  int64_t first = 0, rows = 0, columns = 0;
};

/// One request of a prefill. Visual keys and text keys lie in sequence order, so what comes before a row is a prefix of
/// them.
struct PrefillRequest {
  int64_t visual_row = 0, visual_rows = 0;  // in the query and output buffers; visual_rows 0 past visual_layers
  int64_t text_row = 0, text_rows = 0;
  int64_t text_before = 0;  // text keys before the first of the text rows: those of a prefix computed elsewhere
  const int32_t* visual_before_text = nullptr;  // [text_rows] visual keys before each text row, on the device
  const int32_t* text_before_visual = nullptr;  // [visual_rows] text keys before each visual row, on the device
  const int32_t* image_of_visual = nullptr;     // [visual_rows] index into images, on the device
  const ImageGrid* images = nullptr;            // on the device
  KvSegment visual, text;                       // visual.count 0 where no visual keys exist
};

/// Softmax attention over exactly the pairs that the plan keeps (semantics `skip`).
struct PrefillAttention {
  DType type = DType::F32;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  const void* q = nullptr;  // rows of heads, rotated
  HeadPlaces q_places;
  void* out = nullptr;  // rows of heads; visual rows: only updated heads are written
  HeadPlaces out_places;
  const uint8_t* kept = nullptr;     // [heads] text rows read visual keys in this head; on the device
  const uint8_t* updated = nullptr;  // [heads] visual rows are computed in this head; on the device
  int64_t window_radius = -1;        // in rows and columns of the own image; -1: no window
  bool window_causal = false;
  std::span<const PrefillRequest> requests;
  uint64_t* pairs = nullptr;  // on the device: the (query, key) pairs attended, summed over heads, are added
};

/// One request of a decode step: all its text keys, and in kept heads all its visual keys. The step's arguments that
/// change from step to step lie on the device (`counts`), so that a recorded step can be replayed.
struct DecodeRequest {
  KvSegment visual, text;  // text.count is not used: see counts
};
/// Appends the step's rows: row i of k and v becomes row counts[i] of requests[i].text, keys rotated on the way.
struct DecodeStore {
  DType type = DType::F32;
  int64_t kv_heads = 0, head_dim = 0;
  KvRows rows;                 // [requests] of kv_heads heads
  const float* cos = nullptr;  // [requests, head_dim / 2]
  const float* sin = nullptr;
  const int32_t* counts = nullptr;  // [requests] text rows before this step, on the device
  std::span<const DecodeRequest> requests;
};
struct DecodeAttention {
  DType type = DType::F32;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  const void* q = nullptr;  // [requests] rows of heads, rotated
  HeadPlaces q_places;
  void* out = nullptr;  // [requests] rows of heads
  HeadPlaces out_places;
  const uint8_t* kept = nullptr;    // [heads], on the device
  const int32_t* counts = nullptr;  // [requests] text rows before this step, on the device: counts + 1 are read
  std::span<const DecodeRequest> requests;
  uint64_t* pairs = nullptr;  // as in PrefillAttention
};

/// Every row reads every row of its own group (the vision tower's images).
struct FullAttention {
  DType type = DType::F32;
  int64_t groups = 0, rows = 0, heads = 0, head_dim = 0;
  const void* q = nullptr;  // [groups * rows, heads * head_dim]
  const void* k = nullptr;
  const void* v = nullptr;
  void* out = nullptr;
  uint64_t* pairs = nullptr;  // as in PrefillAttention
};

/// A recorded sequence of operations; a device's own.
struct Recording;

/// Operations are issued in order and finish in order; only `download` and `synchronize` wait for them. Pointers are
/// the device's unless said otherwise; structs and spans themselves are the host's and are read before the call
/// returns.
struct Ops {
  const char* name;  // cpu, cuda
  bool host_memory;  // pointers are the host's own: mapped weights can be used where they lie
  /// Whether products and attention of this type run here; if not, why.
  bool (*supports)(DType type, std::string* why);
  void* (*allocate)(size_t bytes);  // UserError when the device has no room
  void (*release)(void* data, size_t bytes);
  void (*upload)(void* to, const void* from, size_t bytes);    // host to device; `from` may be reused at once
  void (*download)(void* to, const void* from, size_t bytes);  // device to host, after all that was issued
  void (*synchronize)();
  /// Records what `issue` issues instead of running it, to be run as one; both null where the device has no such thing.
  /// Nothing may be allocated, released, uploaded or downloaded meanwhile. What was recorded uses the pointers of then.
  Recording* (*record)(const std::function<void()>& issue);
  void (*replay)(Recording* recording);
  void (*forget)(Recording* recording);
  // The next ones are null where the device has no such thing.
  /// Seconds by the device's own clock from before the first to after the last thing that `work` issues; waits for it.
  double (*seconds_of)(const std::function<void()>& work);
  void (*copy)(void* to, const void* from, size_t bytes);  // within the device
  size_t (*free_bytes)();                                  // that could be allocated now
  /// Names what is issued until end_range on a profiler's time line; ranges nest.
  void (*begin_range)(const char* name);
  void (*end_range)();

  void (*gemm)(const Gemm& gemm);
  /// Bytes of w [n, k] in a form that products read faster than rows, 64 rows (runtime/packed.h) at a time; 0 where
  /// there is none of the type. Null, and `pack` too, where the device has no such form.
  size_t (*packed_bytes)(DType type, int64_t n, int64_t k);
  /// out = w [n, k], rows ldw apart, in that form. Host memory.
  void (*pack)(DType type, const void* w, int64_t ldw, int64_t n, int64_t k, void* out);
  /// out [rows, columns] of `type` = x / sqrt(mean(x^2) + eps) * weight. Computed in fp32.
  void (*rms_norm)(const float* x, const float* weight, double eps, int64_t rows, int64_t columns, DType type,
                   void* out);
  /// out = (x - mean) / sqrt(var + eps) * weight + bias.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, double eps, int64_t rows, int64_t columns,
                     DType type, void* out);
  /// Rotates `heads` heads of `rows` rows in place. x: rows stride elements apart; cos, sin [rows, head_dim / 2].
  void (*rope)(void* x, DType type, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride, const float* cos,
               const float* sin);
  /// RMSNorm of each of `heads` heads of `rows` rows in place, in fp32 and rounded once. x: as in rope; weight
  /// [head_dim].
  void (*norm_heads)(void* x, DType type, int64_t rows, int64_t heads, int64_t head_dim, int64_t stride,
                     const float* weight, double eps);
  /// cos, sin [rows, head_dim / 2].
  void (*store)(const KvRows& rows, DType type, int64_t head_dim, const float* cos, const float* sin,
                std::span<const StoreRows> targets);
  void (*store_decode)(const DecodeStore& store);
  /// out [rows, columns] = silu(gate) * up; rows of gate and up `stride` elements apart. `out` may be `gate` where the
  /// stride is `columns`.
  void (*gated)(const void* gate, const void* up, DType type, int64_t rows, int64_t columns, int64_t stride, void* out);
  /// x [count] = activation(x).
  void (*activate)(Activation activation, void* x, DType type, int64_t count);
  /// x [rows, columns] += bias [columns].
  void (*add_bias)(float* x, const float* bias, int64_t rows, int64_t columns);
  /// x [rows, columns] += scale [columns] * y [rows, columns].
  void (*add_scaled)(float* x, const float* scale, const float* y, int64_t rows, int64_t columns);
  /// out [images * positions, columns]: row 0 of an image is the class embedding, the others its patches; each with its
  /// position's embedding added. patches [images * (positions - 1), columns]. With a null class_embed every row is a
  /// patch, patches [images * positions, columns]; with a null position_embed nothing is added.
  void (*embed_patches)(const float* patches, const float* class_embed, const float* position_embed, int64_t images,
                        int64_t positions, int64_t columns, float* out);
  /// out [groups * (rows - skip), columns] of `type`: x [groups * rows, columns] without the first `skip` rows of each
  /// group.
  void (*drop_rows)(const float* x, int64_t groups, int64_t rows, int64_t skip, int64_t columns, DType type, void* out);
  /// out [count, columns] = the sum of four rows of `from` [.., columns] by weight: index, weight [count, 4]. Rows of
  /// weight 0 are not read.
  void (*mix_rows)(const float* from, const int32_t* index, const float* weight, int64_t count, int64_t columns,
                   float* out);
  /// Attention; multiply-adds are 2 head_dim times the pairs.
  void (*prefill_attention)(const PrefillAttention& attention);
  void (*decode_attention)(const DecodeAttention& attention);
  void (*full_attention)(const FullAttention& attention);
};

const Ops& cpu_ops();

/// Device memory with accounting: what an engine holds now and held at most.
struct MemoryUse {
  int64_t bytes = 0, peak = 0;
};
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Ops& ops, size_t bytes, MemoryUse* use = nullptr);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  const Ops* ops_ = nullptr;
  MemoryUse* use_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

/// `elements` elements past a pointer to elements of `type`.
inline void* offset(void* data, DType type, int64_t elements) {
  return static_cast<char*>(data) + elements * int64_t(size_of(type));
}
inline const void* offset(const void* data, DType type, int64_t elements) {
  return static_cast<const char*>(data) + elements * int64_t(size_of(type));
}

}  // namespace yopo::runtime
