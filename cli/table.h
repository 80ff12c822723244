// The table that `yopo run` and `yopo eval` end with.
#pragma once

#include <string>
#include <vector>

#include "evaluation/compare.h"
#include "evaluation/evaluate.h"

namespace yopo::cli {

/// Rows of cells with aligned columns: the first to the left, the others to the right.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

/// Dense against pruned: accuracy per category and overall, visual FLOPs, KV cache, prefill and decode time.
std::string run_table(const std::vector<EvaluationResult>& results, const Comparison& comparison);

}  // namespace yopo::cli
