// The "yopo" object of an exported checkpoint's config.json: the few counts that running pruned needs, since export put
// what visual tokens use first in every layer ("reorder once, slice forever").
#pragma once

#include <optional>

#include "plans/plan.h"

namespace yopo {

/// The vectors of the plan's compensation, in the checkpoint's folder (plans/compensation.h).
inline constexpr const char* compensation_name = "yopo.safetensors";

/// {"format": "yopo-pruned", "version": 2, "layers": [{"window": {...}, "heads": [per KV group...], "updates": [...],
///  "neurons": count, "alive": false}...], "provenance": {...}}
/// heads[g] counts the kept query heads of KV group g, which are the first of that group. Left out: no window, all
/// heads, updates as heads, all neurons, alive.
Json pruned_config(const Plan& plan, const DecoderSpec& spec);

/// The plan of a pruned checkpoint in that checkpoint's own order (all sets are prefixes), from a "yopo" object of
/// version 1 or 2; nullopt for a dense one. UserError for an object that does not fit the model.
std::optional<Plan> plan_of_checkpoint(const Checkpoint& checkpoint, const DecoderSpec& spec);

}  // namespace yopo
