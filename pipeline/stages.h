// The stages of a recipe over one output folder. Every subcommand that takes a recipe, and `yopo run`, call these.
#pragma once

#include <optional>

#include "calibration/calibrate.h"
#include "evaluation/evaluate.h"
#include "evaluation/verify.h"
#include "pipeline/recipe.h"
#include "plans/budgets.h"
#include "ranks/group.h"

namespace yopo {

/// What of this machine a run may use.
struct RunSettings {
  int threads = 0;             // 0: all
  int64_t memory = 0;          // bytes; 0: no limit
  RankGroup* ranks = nullptr;  // other processes that share the work (pipeline/together.h); none: alone
};

/// What a run leaves in its output folder.
struct OutputFiles {
  fs::path folder, recipe, statistics, head_mask, plan, pruned, verify, eval, answers, comparison, times;
};
OutputFiles output_files(const fs::path& folder);

/// The recipe's checkpoint. UserError as of open_model; where nothing is at a relative path, it says to what.
OpenModel open_recipe_model(const Recipe& recipe);
void check_recipe_model(const Recipe& recipe);
/// Says which of a recipe's question file, images and annotations are not there.
std::vector<std::string> missing_paths(const DatasetOptions& dataset);

/// Makes the output folder and holds it for this process; of several ranks for rank 0, and the others see that it is
/// the same folder. UserError if another process holds it, or if it belongs to a recipe whose resolved text, but for
/// the output, differs (naming the first line that does): one with nothing else in it changes its recipe. For one
/// thread.
class OutputFolder {
 public:
  explicit OutputFolder(const Recipe& recipe, RankGroup* ranks = nullptr);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  const OutputFiles& files() const { return files_; }

 private:
  OutputFiles files_;
  int descriptor_ = -1;
};

/// UserError unless the device of the recipe is there.
std::string resolve_device(const std::string& device);
/// How an engine runs under these settings.
runtime::Options engine_options(const RunSettings& settings, const std::string& dtype, const std::string& device);

/// Statistics to plan with for `model`, a checkpoint folder or a config.json. UserError if they are of another
/// checkpoint; without weights that cannot be told.
Statistics statistics_for(const fs::path& model, const fs::path& file);

/// UserError naming `where` unless they were gathered on these weights; other sizes are left to make_plan.
void check_statistics(const Statistics& statistics, const OpenModel& model, const std::string& where);

/// With other ranks: each calibrates a part, in a file of its own.
Statistics calibrate_stage(const Recipe& recipe, const OpenModel& model, const RunSettings& settings,
                           const fs::path& output);
/// Writes plan.json and headmask.npy. An existing plan.json of other content is a UserError.
/// With a budget it is searched for; what was measured is kept in search.jsonl beside it. `so_far`: no plan is
/// measured, and where the search has not ended, the best one so far is written, which the search replaces when it goes
/// on. With other ranks, which share what is measured, rank 0 alone has the plan.
Plan plan_stage(const Recipe& recipe, const OpenModel& model, const Statistics& statistics, const RunSettings& settings,
                const OutputFiles& files, bool so_far = false);
/// Whether the plan is of a search that has not ended.
bool is_unfinished(const Plan& plan);
/// The plans of the recipe's export.budgets, or the one of `plan`, the largest budget first. The middle budget is
/// searched for first, the others in the order of heads and neurons that was found for it. plan.json is that of
/// plan.budget; plan-0.25.json, headmask-0.25.npy and search-0.25.jsonl are those of the others. `so_far`: as above, of
/// those that have begun.
std::vector<BudgetPlan> plans_stage(const Recipe& recipe, const OpenModel& model, const Statistics& statistics,
                                    const RunSettings& settings, const OutputFiles& files, bool so_far = false);
/// Where plan, proof and scores of a budget lie.
OutputFiles files_of_budget(const Recipe& recipe, const OutputFiles& files, const std::string& budget);
/// Exports the plans: one as ever, several in one order.
void export_stage(const Recipe& recipe, const OpenModel& model, const std::vector<BudgetPlan>& plans,
                  const OutputFiles& files);
/// Whether a stored result of the same inputs stands for doing the work again.
enum class Reuse { No, Same };
/// Writes verify.json. With Reuse::Same a proof in it that passed for these checkpoints, samples, this device and this
/// release is returned.
/// `budget`: of a checkpoint with several plans; "" the default.
VerifyResult verify_stage(const Recipe& recipe, const RunSettings& settings, const OutputFiles& files, Reuse reuse,
                          const std::string& budget = "");
/// Dense and pruned on every benchmark of the recipe; eval.json. Answers that the journals hold are not asked for
/// again; where they hold all of them, no engine is made, and the times are those of eval.json. `budget`: of a
/// checkpoint with several plans; "" the default. `dense`: such a list, whose dense results are taken. With other
/// ranks, each of which asks a part of the questions, rank 0 alone has the results.
std::vector<EvaluationResult> evaluate_stage(const Recipe& recipe, const RunSettings& settings,
                                             const OutputFiles& files, const std::string& budget = "",
                                             const std::vector<EvaluationResult>* dense = nullptr);
struct BudgetEvaluation {
  std::string budget;                     // "" of a checkpoint with one plan
  std::vector<EvaluationResult> results;  // dense and pruned by turns
};
/// evaluate_stage for the default, the first, and for every other budget of the checkpoint: eval-0.25.json.
std::vector<BudgetEvaluation> evaluate_budgets(const Recipe& recipe, const RunSettings& settings,
                                               const OutputFiles& files);

/// The journal of a benchmark's answers in `answers_folder`. `budget`: one that was asked for.
fs::path answers_file(const fs::path& answers_folder, const std::string& benchmark, bool pruned,
                      const Shard& shard = {}, const std::string& budget = "");

/// One benchmark on one checkpoint under one plan; the journal lies in `answers_folder`. `prompts`: how they are
/// made. With `dropping` the model does without some visual tokens. `ranks`: share the questions; then rank 0 alone has
/// the result.
EvaluationResult evaluate_one(const OpenModel& model, const Plan& plan, const EvaluateOptions& options,
                              const std::string& name, const PromptOptions& prompts, const runtime::Options& run,
                              const fs::path& answers_folder, const Shard& shard = {}, const std::string& budget = "",
                              const std::optional<Dropping>& dropping = {}, RankGroup* ranks = nullptr);

/// The spec of a checkpoint folder, its dtype that of the weights where they are there, or of a config.json alone.
ModelSpec spec_of(const fs::path& model);
/// The type in which the runtime would compute and keep its KV cache here; the stored one where the device is not here.
DType running_type(const ModelSpec& spec, const std::string& dtype = "auto", const std::string& device = "auto");

/// The config.json of a checkpoint folder, or the file itself where `model` is one.
fs::path config_file(const fs::path& model);
/// The plan a command line asks for: --dense, --plan FILE, or the checkpoint's own; of one with several that of
/// --budget, without one the default, with a note.
Plan choose_plan(const OpenModel& model, bool dense, const fs::path& plan, const std::string& budget = "");
/// The budget that runs where `budget` is asked for; "" where the checkpoint holds one plan. Notes a default.
std::string chosen_budget(const OpenModel& model, const std::string& budget);

}  // namespace yopo
