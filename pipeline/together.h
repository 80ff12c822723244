// What several processes share of a recipe's stages, over a folder that all of them see. Every rank calls the same
// stages; rank 0 alone writes what one process would write, and its result is that of all.
#pragma once

#include <functional>
#include <optional>

#include "calibration/calibrate.h"
#include "evaluation/evaluate.h"
#include "pipeline/recipe.h"
#include "ranks/group.h"

namespace yopo {

/// What rank 0 leaves for a moment in a folder, to see that the others see it.
inline constexpr const char* rank_mark = ".ranks";

/// UserError naming the rank that has another recipe, checkpoint, type of numbers or release.
void agree_on_recipe(RankGroup& ranks, const Recipe& recipe, const OpenModel& model, const std::string& device);

/// UserError naming a rank that does not see `rank_mark` there.
void check_same_folder(RankGroup& ranks, const fs::path& folder);

/// Waits until a file of rank `maker` is seen here; network file systems take some seconds. UserError naming both.
void wait_for_file(const RankGroup& ranks, const fs::path& file, int maker);

/// As calibrate(). With other ranks each calibrates a part, in `output`.rank-K-of-N, and rank 0 merges them into the
/// bytes of one process. All of them have the result.
Statistics calibrate_together(const OpenModel& model, const CalibrationRun& run, const fs::path& output,
                              RankGroup* ranks);

/// Each rank asks its part of the questions, into a file of its own beside `run.answers`, and rank 0 merges and scores
/// them. `ask` asks what it is given; `finished`: rank 0 has all answers already. On the other ranks an empty result.
EvaluationResult evaluate_together(const OpenBenchmark& benchmark, const EvaluationRun& run,
                                   std::optional<EvaluationResult> finished,
                                   const std::function<EvaluationResult(const EvaluationRun& part)>& ask,
                                   RankGroup& ranks);

}  // namespace yopo
