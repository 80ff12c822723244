// The table that `yopo run` and `yopo eval` end with.
#pragma once

#include <string>
#include <vector>

#include "evaluation/compare.h"
#include "evaluation/evaluate.h"
#include "pipeline/run.h"

namespace yopo::cli {

/// Rows of cells with aligned columns: the first to the left, the others to the right.
std::string format_table(const std::vector<std::vector<std::string>>& cells);

/// A score or category of this result: a fraction with four digits, points with one.
std::string score_text(const EvaluationResult& result, double value);

/// Dense against pruned: every benchmark's categories and headline (percent or points; without
/// the categories that its record leaves out), visual FLOPs, KV cache, prefill and decode time. results: dense and
/// pruned by turns.
std::string run_table(const std::vector<EvaluationResult>& results, const Comparison& comparison);

/// A line a budget: its visual FLOPs, every benchmark's headline, and that as a share of the dense score.
std::string budget_table(const std::vector<BudgetSummary>& budgets);

}  // namespace yopo::cli
