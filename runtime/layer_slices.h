// A plan in prefix form, as the forward walks it.
#pragma once

#include <cstdint>
#include <vector>

#include "plans/plan.h"

namespace yopo::runtime {

/// Contiguous indices [first, first + count).
struct Run {
  int64_t first = 0, count = 0;
};

/// What one layer's products take for visual rows: the first `counts.kv_heads` KV heads and `counts.neurons` neurons.
struct LayerSlices {
  LayerPlan plan;  // no head where the layer is not alive
  LayerCounts counts;
  std::vector<Run> updated_runs;  // heads that visual rows compute ...
  std::vector<Run> other_runs;    // ... and those that only text rows do
  bool updates() const { return !updated_runs.empty(); }
};

/// Whether in every living layer the kept KV heads and the neurons are the first.
bool in_prefix_form(const Plan& plan, const DecoderSpec& spec);

/// `plan` must be in prefix form (InternalError otherwise): kept KV heads and neurons first. With `holes` the KV heads
/// before the last that is kept need not be: they are computed, and nobody reads them.
std::vector<LayerSlices> slices_of(const Plan& plan, const DecoderSpec& spec, bool holes = false);

}  // namespace yopo::runtime
