// Everything a recipe says: calibrate, plan, export, verify, evaluate, time.
#pragma once

#include <optional>

#include "evaluation/compare.h"
#include "pipeline/stages.h"

namespace yopo {

/// Of a checkpoint with plans for several budgets, each.
struct BudgetSummary {
  std::string budget;
  bool fallback = false;                     // what runs where none is asked for
  double visual_flops = 0;                   // a share, of the prompts searched on
  std::vector<EvaluationResult> evaluation;  // dense and pruned by turns
};

struct RunResult {
  OutputFiles files;
  VerifyResult verify;
  std::vector<EvaluationResult> evaluation;  // dense and pruned by turns; none where the proof failed
  std::optional<Comparison> comparison;      // nothing where the proof failed
  std::string prompts;                       // which prompts the comparison is of
  std::vector<BudgetSummary> budgets;        // the largest first; none where there is one plan, or a proof failed
};

/// Runs the stages over the recipe's output folder and says on the way what each left (core/progress.h). What a file
/// there holds already for the same inputs is taken from it: statistics, plan, checkpoint, a proof that passed,
/// answers, times. UserError if the recipe has no calibration or plan, and as the stages say.
RunResult run_recipe(const Recipe& recipe, const RunSettings& settings);
Json run_to_json(const RunResult& result);

}  // namespace yopo
