// The "yopo" object of an exported checkpoint's config.json: the few counts that running pruned needs, since export put
// what visual tokens use first in every layer ("reorder once, slice forever").
#pragma once

#include <optional>

#include "plans/budgets.h"

namespace yopo {

/// The vectors of the plan's compensation, in the checkpoint's folder (plans/compensation.h).
inline constexpr const char* compensation_name = "yopo.safetensors";

/// {"format": "yopo-pruned", "version": 2, "layers": [{"window": {...}, "heads": [per KV group...], "updates": [...],
///  "neurons": count, "alive": false}...], "provenance": {...}}
/// heads[g] counts the kept query heads of KV group g, which are the first of that group. Left out: no window, all
/// heads, updates as heads, all neurons, alive.
Json pruned_config(const Plan& plan, const DecoderSpec& spec);

/// Version 3, of several plans in one order: {"format", "version": 3, "default": "0.5", "plans": {"0.5": {"layers": as
/// above}, "0.25": ...}, "provenance"}. Where the kept heads of a KV group are not its first, its entry is an array of
/// flags instead of a count. "made_by" of `provenance` may hold an object a budget.
Json elastic_config(const std::vector<BudgetPlan>& plans, const std::string& fallback, const DecoderSpec& spec,
                    const Json& provenance);

struct CheckpointBudgets {
  std::vector<std::string> names;  // the largest first; none where the checkpoint holds one plan, or is dense
  std::string fallback;            // the one that runs where none is asked for
};
/// UserError for an object that is no such one.
CheckpointBudgets budgets_of_checkpoint(const Checkpoint& checkpoint);

/// The plan of a pruned checkpoint in that checkpoint's own order (KV heads and neurons are prefixes), from a "yopo"
/// object of version 1 to 3; nullopt for a dense one. `budget`: which of several, "" the default; UserError naming
/// those that are there. UserError for an object that does not fit the model.
std::optional<Plan> plan_of_checkpoint(const Checkpoint& checkpoint, const DecoderSpec& spec,
                                       const std::string& budget = "");

}  // namespace yopo
