// Which keys a query row reads under a plan, for one block of query rows at a time. No Torch: plain bytes.
//
// docs/architecture.md defines the published variants. Nothing here ever holds tokens x tokens numbers: the caller asks
// for `rows` x `keys` of one sample and one layer.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/input.h"
#include "plans/plan.h"
#include "reference/engine.h"

namespace yopo {

/// Where one sample's tokens are in a left-padded batch.
struct SampleLayout {
  int64_t padding = 0;           // leading positions that hold no token
  std::vector<Span> spans;       // visual tokens, in padded coordinates, ascending
  int64_t visual = 0;            // tokens in spans
  int64_t dropped_from = -1;     // from this layer on nobody reads the dropped tokens; -1: none are dropped
  std::vector<int64_t> dropped;  // their positions, in padded coordinates
  bool drops_in(int64_t layer) const { return dropped_from >= 0 && layer >= dropped_from; }
};

/// The layout of a sample behind `padding` empty positions.
SampleLayout layout_of(const std::vector<Span>& spans, int64_t padding);
/// The same of an input, with what it drops. UserError for kept rows that it has not.
SampleLayout layout_of(const ModelInput& input, int64_t layers, int64_t padding);

/// A block of query rows of one forward pass. Positions count from the start of the padded sequence.
struct RowBlock {
  int64_t past = 0;      // keys cached by earlier passes
  int64_t new_rows = 0;  // all query rows of this pass, padding included
  int64_t first = 0;     // of the block, among the new rows
  int64_t rows = 0;      // in the block
  int64_t keys = 0;      // keys given to the block: positions [0, keys)
};

/// What one layer does to the causal mask.
struct LayerMask {
  std::optional<Window> window;
  bool window_isolates = false;
  enum class Cut { None, TextRows, QwenRows } cut = Cut::None;  // rows that lose the visual keys before the softmax
  MaskRules::SelfOnly self_only = MaskRules::SelfOnly::No;
  /// Whether causality is all there is.
  bool causal_only() const { return !window && cut == Cut::None && self_only == MaskRules::SelfOnly::No; }
};
LayerMask layer_mask(const LayerPlan& layer, const MaskRules& rules);

/// Whether the published code takes this pass for the prefill of a sample: more new rows than visual tokens. Window and
/// self-only act in such a pass only.
bool is_prefill(const SampleLayout& sample, const RowBlock& block);

/// The last key any row of the block may read, plus one: later neighbours of a visual row count with a window that is
/// not causal.
int64_t key_limit(const std::vector<SampleLayout>& samples, const LayerMask& mask, const RowBlock& block);

/// Writes 1 into blocked[rows, keys] for each pair that the plan takes out before the softmax, for reasons other than a
/// dropped head, and 0 elsewhere. A row of padding reads itself, so that its softmax stays finite.
void mark_blocked(const SampleLayout& sample, const LayerMask& mask, const RowBlock& block, uint8_t* blocked);

/// Writes 1 for the pairs of the sample's dropped keys.
void mark_dropped(const SampleLayout& sample, const RowBlock& block, uint8_t* blocked);

/// Qwen2-VL's self-only variant as it is written adds the scores to a copy of themselves: factors[rows, keys] are 2,
/// but 1 for a visual row's own key, and 1 everywhere in a pass that is no prefill.
void literal_factors(const SampleLayout& sample, const RowBlock& block, float* factors);

}  // namespace yopo
