// What a plan keeps and what it saves, layer by layer: `yopo inspect` and `yopo plan`.
#pragma once

#include <string>
#include <vector>

#include "plans/cost.h"

namespace yopo {

/// The prompts that figures are of: what a plan saves depends on them.
struct Prompts {
  std::string name;  // for people: "20 samples of questions.jsonl"
  std::vector<PromptShape> shapes;
};
/// 35 text tokens, one image on the model's grid, 64 text tokens: a LLaVA-1.5 question.
Prompts typical_prompt(const ModelSpec& spec);

/// {"semantics", "window", "visual_layers", "layers": [{"layer", "heads", "updates", "kv_heads", "neurons",
/// "window"}...],
///  "prompt": {"name", "count", "text", "visual"}, "flops": {"paper_visual" | "exact_visual" | "exact_prefill" |
///  "exact_decode": {"dense", "plan", "kept"}}, "kv_dtype", "kv_bytes": {"dense", "plan", "kept"}}.
/// FLOPs by plans/cost.h. `exact_decode` is the first generated token. KV bytes are after the prefill, at the width of
/// "kv_dtype". All are means over the prompts, as are the prompt's tokens; `kept` is plan / dense, null
/// where dense is nothing. Per layer: query heads read and updated, KV heads held and FFN neurons used by visual
/// tokens; zero in layers that are not alive. "window" is "by layer" where layers differ.
Json report(const Plan& plan, const ModelSpec& spec, const Prompts& prompts, DType kv_dtype);

/// 14.89 T, 41.20 G, 512: two decimals, as the paper writes them, and a decimal prefix.
std::string scaled(double value);

/// The report as aligned text; runs of equal layers share a line.
std::string report_text(const Json& report);

}  // namespace yopo
