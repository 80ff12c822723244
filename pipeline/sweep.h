// A plan for each of several budgets, each in an order of its own: what a budget buys.
#pragma once

#include "pipeline/stages.h"

namespace yopo {

/// Writes sweep/plan-B.json (with vectors, head mask and journal) for every budget B and sweep/sweep.json, {"points":
/// [{"budget", "visual_flops", "loss", "kl", "same", "held_out", "evaluations", "seconds"}...]}, beside the recipe's
/// plan. A plan that is there already keeps its seconds. UserError as plan_stage.
Json sweep(const Recipe& recipe, const OpenModel& model, const Statistics& statistics, const RunSettings& settings,
           const OutputFiles& files, const std::vector<std::string>& budgets);
/// The rows of a table.
std::vector<std::vector<std::string>> sweep_rows(const Json& sweep);

}  // namespace yopo
