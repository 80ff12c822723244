// What a recipe would do and need, without doing it.
#pragma once

#include "models/spec.h"
#include "pipeline/recipe.h"
#include "plans/plan.h"

namespace yopo {

/// A plan of the recipe's sizes with no statistics: keep numbers applied to the first heads and neurons. Heads chosen
/// by threshold are only known after calibration; they count as all kept and `exact` becomes false.
struct PlanEstimate {
  Plan plan;
  bool exact = true;
};
PlanEstimate estimate_plan(const PlanOptions& options, const DecoderSpec& spec);

/// Resolved settings, FLOPs in both conventions, memory and disk needed. The model folder needs config.json only.
Json dry_run(const Recipe& recipe);
/// The same as text.
std::string dry_run_text(const Json& dry_run);

}  // namespace yopo
