// Dense against pruned on the user's own prompts: what visual tokens cost, what the cache holds, what the clock says.
#pragma once

#include "core/json.h"
#include "models/prompt.h"
#include "runtime/engine.h"

namespace yopo {

struct Comparison {
  int64_t samples = 0;
  double paper_fraction = 0;        // visual FLOPs kept, convention `paper`
  double exact_fraction = 0;        // visual FLOPs kept, convention `exact`
  double exact_total_fraction = 0;  // all language-model FLOPs of the prefill kept
  struct Side {
    double visual_flops = 0;   // exact, mean of a sample
    double prefill_flops = 0;  // exact, mean of a sample
    double kv_bytes = 0;       // after the prefill, mean of a sample, counted
    double prefill_ms = 0;     // median over samples of the median over rounds, batch 1, language model only
    double decode_ms = 0;      // per token
  } dense, pruned;
};

/// Times both engines on the same prompts one at a time, interleaved, `rounds` times after a warm-up; the rest is
/// counted. `dense` and `pruned` may be different checkpoints of the same model; the plan is pruned.plan().
Comparison compare(const runtime::Engine& dense, const runtime::Engine& pruned, const std::vector<ModelInput>& inputs,
                   int64_t rounds, int64_t decode_tokens);
Json comparison_to_json(const Comparison& comparison);
/// UserError naming `where` for what is no such comparison.
Comparison comparison_from_json(const Json& json, const std::string& where);

}  // namespace yopo
