#include "runtime/kv_cache.h"

#include "core/error.h"

namespace yopo::runtime {

KvCache::KvCache(const DecoderSpec& spec, const std::vector<LayerSlices>& layers, VisualCounts visual_tokens,
                 int64_t text_capacity, DType type, const Ops& ops, MemoryUse* use, const KvCache* leader)
    : type_(type),
      visual_tokens_(visual_tokens),
      kv_heads_(spec.num_key_value_heads),
      head_dim_(spec.head_dim),
      text_capacity_(text_capacity) {
  size_t visual = 0, text = 0;
  for (const LayerSlices& layer : layers) {
    const int64_t tokens = visual_tokens.at(int64_t(layers_.size()));
    layers_.push_back({layer.counts.kv_heads, tokens, visual, text});
    visual += size_t(2 * layer.counts.kv_heads * tokens * head_dim_);
    text += size_t(2 * kv_heads_ * text_capacity_ * head_dim_);
  }
  ensure(!leader || leader->visual_tokens_ == visual_tokens_, "caches that share a visual part have the same images");
  visual_ = leader ? leader->visual_ : std::make_shared<const Buffer>(ops, visual * size_of(type), use);
  text_ = Buffer(ops, text * size_of(type), use);
}

int64_t KvCache::bytes(const DecoderSpec& spec, const std::vector<LayerSlices>& layers, VisualCounts visual_tokens,
                       int64_t text_capacity, DType type) {
  int64_t rows = 0;
  for (size_t l = 0; l < layers.size(); ++l)
    rows += layers[l].counts.kv_heads * visual_tokens.at(int64_t(l)) + spec.num_key_value_heads * text_capacity;
  return rows * 2 * spec.head_dim * int64_t(size_of(type));
}

void KvCache::advance(int64_t rows) {
  ensure(text_count_ + rows <= text_capacity_, "more text rows than the KV cache has room for");
  text_count_ += rows;
}

KvSegment KvCache::visual(int64_t layer) const {
  const Layer& here = layers_[size_t(layer)];
  const int64_t tokens = here.visual_tokens;
  if (here.visual_heads == 0 || tokens == 0) return {};
  const int64_t half = here.visual_heads * tokens * head_dim_;
  void* keys = offset(visual_->data(), type_, int64_t(here.visual_at));
  return {keys, offset(keys, type_, half), here.visual_heads, tokens, tokens};
}

KvSegment KvCache::text(int64_t layer, int64_t text_rows) const {
  if (text_capacity_ == 0) return {};
  const Layer& here = layers_[size_t(layer)];
  void* keys = offset(text_.data(), type_, int64_t(here.text_at));
  return {keys, offset(keys, type_, kv_heads_ * text_capacity_ * head_dim_), kv_heads_, text_capacity_, text_rows};
}

int64_t KvCache::text_bytes_in_use() const {
  return int64_t(layers_.size()) * kv_heads_ * text_count_ * 2 * head_dim_ * int64_t(size_of(type_));
}

int64_t KvCache::visual_bytes_in_use() const {
  int64_t rows = 0;
  for (const Layer& layer : layers_) rows += layer.visual_heads * layer.visual_tokens;
  return rows * 2 * head_dim_ * int64_t(size_of(type_));
}

}  // namespace yopo::runtime
