// `yopo compare`: what else the recipe's visual FLOPs could have been spent on.
#pragma once

#include "core/json.h"
#include "pipeline/recipe.h"
#include "pipeline/stages.h"

namespace yopo {

/// The names of all controls, in their order.
const std::vector<std::string>& control_names();

struct CompareOptions {
  std::vector<std::string> controls;  // empty: all
  int64_t seeds = 3;                  // of the random ones
};

/// Evaluates the recipe's plan and the controls at its budget; calibrates and plans where that is not done. Each has a
/// folder OUTPUT/compare/NAME with its answers and eval.json, so that a killed run continues. Writes
/// OUTPUT/compare/compare.json (docs/formats.md) and returns it. UserError for a recipe without plan.budget or
/// evaluate, and for an unknown control.
Json compare_recipe(const Recipe& recipe, const RunSettings& settings, const CompareOptions& options);

}  // namespace yopo
