#include "reference/attention_mask.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "models/kept_rows.h"

namespace yopo {

namespace {

// The span a position lies in, or null for text and padding.
const Span* span_at(const std::vector<Span>& spans, int64_t position) {
  for (const Span& span : spans)
    if (position >= span.start && position < span.start + span.count()) return &span;
  return nullptr;
}

// Sets row[begin, end) cut to the keys at hand.
void fill(uint8_t* row, int64_t keys, int64_t begin, int64_t end, uint8_t value) {
  begin = std::clamp<int64_t>(begin, 0, keys);
  end = std::clamp<int64_t>(end, begin, keys);
  if (end > begin) std::memset(row + begin, value, size_t(end - begin));
}

void block_visual(uint8_t* row, int64_t keys, const std::vector<Span>& spans) {
  for (const Span& span : spans) fill(row, keys, span.start, span.start + span.count(), 1);
}

// Replaces what the row reads of its own image by the neighbours within the window's radius.
void open_window(uint8_t* row, int64_t keys, const Span& span, int64_t position, const Window& window) {
  const int64_t radius = (window.size - 1) / 2;
  const int64_t own = position - span.start, own_row = own / span.columns, own_column = own % span.columns;
  fill(row, keys, span.start, span.start + span.count(), 1);
  const int64_t first_row = std::max<int64_t>(0, own_row - radius),
                last_row = std::min(span.rows - 1, own_row + radius);
  const int64_t first_column = std::max<int64_t>(0, own_column - radius);
  const int64_t last_column = std::min(span.columns - 1, own_column + radius);
  for (int64_t r = first_row; r <= last_row; ++r) {
    const int64_t begin = span.start + r * span.columns + first_column;
    int64_t end = span.start + r * span.columns + last_column + 1;
    if (window.causal) end = std::min(end, position + 1);
    fill(row, keys, begin, end, 0);
  }
}

}  // namespace

SampleLayout layout_of(const std::vector<Span>& spans, int64_t padding) {
  SampleLayout layout{padding, spans, 0, -1, {}};
  for (Span& span : layout.spans) {
    span.start += padding;
    layout.visual += span.count();
  }
  return layout;
}

SampleLayout layout_of(const ModelInput& input, int64_t layers, int64_t padding) {
  SampleLayout layout = layout_of(input.spans, padding);
  if (!input.kept) return layout;
  check_kept_rows(*input.kept, input, layers, "input");
  layout.dropped_from = input.kept->from_layer;
  int64_t row = 0;
  for (const Span& span : layout.spans)
    for (int64_t token = span.start; token < span.start + span.count(); ++token, ++row)
      if (!std::binary_search(input.kept->rows.begin(), input.kept->rows.end(), row)) layout.dropped.push_back(token);
  return layout;
}

void mark_dropped(const SampleLayout& sample, const RowBlock& block, uint8_t* blocked) {
  for (int64_t r = 0; r < block.rows; ++r)
    for (const int64_t key : sample.dropped)
      if (key < block.keys) blocked[r * block.keys + key] = 1;
}

MaskRules rules_of(Semantics semantics) {
  MaskRules rules;
  switch (semantics) {
    case Semantics::Skip:
      return rules;
    case Semantics::Llava:
      rules.heads_before_softmax = false;
      rules.depth = MaskRules::Depth::AllAfterSoftmax;
      rules.freeze_visual = false;
      rules.window_isolates = false;
      return rules;
    case Semantics::Qwen2Vl:
      rules.heads_before_softmax = false;
      rules.heads_from_layer = 2;
      rules.zero_visual_queries = false;
      rules.depth = MaskRules::Depth::QwenLiteral;
      rules.freeze_visual = false;
      rules.window_isolates = false;
      return rules;
  }
  throw InternalError("a semantics without mask rules");
}

LayerMask layer_mask(const LayerPlan& layer, const MaskRules& rules) {
  LayerMask mask;
  mask.window = layer.window;
  mask.window_isolates = rules.window_isolates;
  mask.self_only = rules.self_only;
  if (!layer.alive) {
    if (rules.depth == MaskRules::Depth::TextBeforeSoftmax) mask.cut = LayerMask::Cut::TextRows;
    if (rules.depth == MaskRules::Depth::QwenLiteral) mask.cut = LayerMask::Cut::QwenRows;
  }
  return mask;
}

bool is_prefill(const SampleLayout& sample, const RowBlock& block) {
  const int64_t own_rows = block.new_rows - (block.past == 0 ? sample.padding : 0);
  return sample.visual > 0 && own_rows > sample.visual;
}

int64_t key_limit(const std::vector<SampleLayout>& samples, const LayerMask& mask, const RowBlock& block) {
  const int64_t total = block.past + block.new_rows;
  const int64_t begin = block.past + block.first, end = begin + block.rows;
  int64_t limit = end;
  if (mask.window && !mask.window->causal)
    for (const SampleLayout& sample : samples)
      for (const Span& span : sample.spans)
        if (span.start < end && span.start + span.count() > begin) limit = std::max(limit, span.start + span.count());
  return std::min(limit, total);
}

void mark_blocked(const SampleLayout& sample, const LayerMask& mask, const RowBlock& block, uint8_t* blocked) {
  const bool prefill = is_prefill(sample, block);
  const int64_t keys = block.keys;
  for (int64_t r = 0; r < block.rows; ++r) {
    uint8_t* row = blocked + r * keys;
    const int64_t position = block.past + block.first + r;
    const Span* own = span_at(sample.spans, position);
    fill(row, keys, 0, sample.padding, 1);
    fill(row, keys, sample.padding, position + 1, 0);
    fill(row, keys, position + 1, keys, 1);
    if (position < sample.padding) {
      fill(row, keys, position, position + 1, 0);
      continue;
    }
    if (mask.window && prefill && own) {
      if (mask.window_isolates) block_visual(row, keys, sample.spans);
      open_window(row, keys, *own, position, *mask.window);
    }
    if (mask.cut == LayerMask::Cut::TextRows && !own) block_visual(row, keys, sample.spans);
    if (mask.cut == LayerMask::Cut::QwenRows) {
      // The published slice starts at the number of visual tokens, not at the end of the image: the first visual rows
      // behind a system prompt are spared and the last ones are not.
      const int64_t index = block.first + r - (block.past == 0 ? sample.padding : 0);
      if (sample.visual > 0 && (!prefill || index >= sample.visual)) block_visual(row, keys, sample.spans);
    }
    if (mask.self_only != MaskRules::SelfOnly::No && prefill && own) {
      const uint8_t self = row[position];
      block_visual(row, keys, sample.spans);
      row[position] = self;
    }
  }
}

void literal_factors(const SampleLayout& sample, const RowBlock& block, float* factors) {
  const bool prefill = is_prefill(sample, block);
  std::fill(factors, factors + block.rows * block.keys, prefill ? 2.0f : 1.0f);
  if (!prefill) return;
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t position = block.past + block.first + r;
    if (span_at(sample.spans, position) && position < block.keys) factors[r * block.keys + position] = 1.0f;
  }
}

}  // namespace yopo
