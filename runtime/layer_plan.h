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

/// What visual tokens get in one layer. All zero past visual_layers.
struct LayerPlan {
  int64_t visual_kv_heads = 0;         // the first of the KV heads have a kept query head
  int64_t neurons = 0;                 // the first of the neurons are computed for visual rows
  std::vector<uint8_t> kept, updated;  // [heads]
  std::vector<Run> updated_runs;       // heads that visual rows compute ...
  std::vector<Run> other_runs;         // ... and those that only text rows do
  bool updates() const { return !updated_runs.empty(); }
};

/// `plan` must be in prefix form (InternalError otherwise): kept KV heads and neurons first.
std::vector<LayerPlan> layer_plans(const Plan& plan, const DecoderSpec& spec);

}  // namespace yopo::runtime
