// The keys and values of one request: what later rows will read, nothing else.
#pragma once

#include <memory>
#include <vector>

#include "runtime/layer_slices.h"
#include "runtime/ops.h"

namespace yopo::runtime {

/// Visual tokens of a request in each layer: fewer from some layer on where the others are dropped.
struct VisualCounts {
  int64_t all = 0;
  int64_t kept_from = -1;  // -1: nothing is dropped
  int64_t kept = 0;
  int64_t at(int64_t layer) const { return kept_from >= 0 && layer >= kept_from ? kept : all; }
  bool operator==(const VisualCounts&) const = default;
};

/// Per layer a text part [kv_heads][capacity][head_dim] and, in layers that compute visual tokens, a visual part
/// [KV heads with a kept query head][visual tokens][head_dim]; keys and values each. Requests about one image read one
/// visual part.
class KvCache {
 public:
  KvCache() = default;
  /// `leader`: a cache of as many visual tokens, whose visual part this one reads; or null.
  KvCache(const DecoderSpec& spec, const std::vector<LayerSlices>& layers, VisualCounts visual_tokens,
          int64_t text_capacity, DType type, const Ops& ops, MemoryUse* use, const KvCache* leader = nullptr);

  /// What the constructor allocates; visual_tokens 0 with a leader.
  static int64_t bytes(const DecoderSpec& spec, const std::vector<LayerSlices>& layers, VisualCounts visual_tokens,
                       int64_t text_capacity, DType type);

  int64_t text_count() const { return text_count_; }
  int64_t text_capacity() const { return text_capacity_; }
  /// Text rows become part of every layer's segment once all layers have written them.
  void advance(int64_t rows);

  /// The segments of a layer with `text_rows` text rows in use.
  KvSegment visual(int64_t layer) const;
  KvSegment text(int64_t layer, int64_t text_rows) const;
  /// Bytes of entries in use, together plans/cost.h's kv_bytes; of the visual ones for all who read them.
  int64_t text_bytes_in_use() const;
  int64_t visual_bytes_in_use() const;
  /// The same for caches that read one visual part.
  const void* visual_part() const { return visual_.get(); }

 private:
  struct Layer {
    int64_t visual_heads = 0, visual_tokens = 0;
    size_t visual_at = 0, text_at = 0;  // element offsets of the keys in their part; the values follow
  };
  std::shared_ptr<const Buffer> visual_;
  Buffer text_;
  std::vector<Layer> layers_;
  DType type_ = DType::F32;
  VisualCounts visual_tokens_;
  int64_t kv_heads_ = 0, head_dim_ = 0, text_capacity_ = 0, text_count_ = 0;
};

}  // namespace yopo::runtime
