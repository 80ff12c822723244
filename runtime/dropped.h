// A prefill in which visual tokens are dropped on the way: the layers before run over all rows, the others over those
// that stay. Private to runtime/.
#pragma once

#include <optional>
#include <vector>

#include "runtime/state.h"

namespace yopo::runtime {

struct Dropped {
  int64_t from_layer = 0;        // of the whole batch
  std::vector<ModelInput> rest;  // each request without what is dropped: positions and spans
  Layout layout;                 // of these
};

/// Nothing where no input drops any. UserError for rows that the sample has not, for inputs that drop from different
/// layers, and for a plan with windows in the layers behind: a window is of a whole picture.
std::optional<Dropped> dropped_of(const EngineState& state, const std::vector<ModelInput>& inputs);

/// What request `i` holds in its KV cache.
VisualCounts visual_counts(const std::optional<Dropped>& dropped, const std::vector<ModelInput>& inputs, size_t i);

/// The rows that stay, from x [layout.rows(), hidden] to `to` [dropped.layout.rows(), hidden], both on the device;
/// `visual`: x has the visual rows alone, [layout.visual_rows, hidden], and so has `to`.
void move_rows(const EngineState& state, const std::vector<ModelInput>& inputs, const Layout& layout, const float* x,
               const Dropped& dropped, float* to, bool visual = false);

}  // namespace yopo::runtime
