// What a plan keeps and what it saves, layer by layer: `yopo inspect` and `yopo plan`.
#pragma once

#include <optional>

#include "plans/cost.h"

namespace yopo {

/// 35 text tokens, one image on the model's grid, 64 text tokens: a LLaVA-1.5 question.
PromptShape typical_prompt(const ModelSpec& spec);

/// {"semantics", "window", "visual_layers", "layers": [{"layer", "heads", "updates", "kv_heads", "neurons"}...],
///  "prompt": {"text", "visual"}, "flops": {"paper_visual" | "exact_visual" | "exact_prefill" | "exact_decode":
///  {"dense", "plan", "kept"}}, "kv_bytes": {"dense", "plan", "kept"}}.
/// FLOPs by plans/cost.h; `paper_visual` is the convention for one image, the prompt's first. `exact_decode` is the
/// first generated token. KV bytes are after the prefill, at the width of the checkpoint's type. `kept` is plan /
/// dense, null where dense is nothing. Per layer: query heads read and updated, KV heads held and FFN neurons used by
/// visual tokens; zero past visual_layers. The prompt defaults to typical_prompt.
Json report(const Plan& plan, const ModelSpec& spec, const std::optional<PromptShape>& prompt = std::nullopt);

/// The report as aligned text; runs of equal layers share a line.
std::string report_text(const Json& report);

}  // namespace yopo
