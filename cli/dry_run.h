// What a recipe would do and need, without doing it.
#pragma once

#include "cli/command.h"
#include "compress/plan.h"
#include "core/recipe.h"
#include "models/spec.h"

namespace yopo::cli {

/// A plan of the recipe's sizes with no statistics: keep numbers applied to the first heads and neurons. Heads chosen by
/// threshold are only known after calibration; they count as all kept and `exact` becomes false.
struct PlanEstimate {
  Plan plan;
  bool exact = true;
};
PlanEstimate estimate_plan(const PlanOptions& options, const DecoderSpec& spec);

/// Prints resolved settings, FLOPs in both conventions, memory and disk needed. The model folder needs config.json only.
int dry_run(const Recipe& recipe, const Context& context);

}  // namespace yopo::cli
