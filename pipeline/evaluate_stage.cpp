// A recipe's benchmarks, dense and pruned: answers and eval.json.
#include "core/progress.h"
#include "models/prompt_identity.h"
#include "pipeline/stages.h"
#include "pipeline/stored.h"
#include "pipeline/together.h"
#include "plans/pruned_config.h"

namespace yopo {

namespace {

/// Times are of the run that asked: a result without any takes those of the same result in eval.json.
void take_times(EvaluationResult& result, const std::vector<EvaluationResult>& before, size_t index) {
  if (result.seconds > 0 || index >= before.size()) return;
  EvaluationResult old = before[index];
  if (old.benchmark != result.benchmark || old.pruned != result.pruned || old.count != result.count) return;
  result.seconds = old.seconds, result.seconds_model = old.seconds_model;
  result.seconds_prepare = old.seconds_prepare, result.seconds_waited = old.seconds_waited;
  result.seconds_journal = old.seconds_journal;
}

}  // namespace

fs::path answers_file(const fs::path& answers_folder, const std::string& benchmark, bool pruned, const Shard& shard,
                      const std::string& budget) {
  const std::string part = shard.whole() ? "" : fmt::format(".{}-of-{}", shard.number, shard.count);
  return answers_folder / fmt::format("{}-{}{}{}.jsonl", benchmark, pruned ? "pruned" : "dense",
                                      pruned && !budget.empty() ? "-" + budget : "", part);
}

EvaluationResult evaluate_one(const OpenModel& model, const Plan& plan, const EvaluateOptions& options,
                              const std::string& name, const PromptOptions& prompts, const runtime::Options& run,
                              const fs::path& answers_folder, const Shard& shard, const std::string& budget,
                              const std::optional<Dropping>& dropping, RankGroup* ranks) {
  const bool pruned = dropping || !is_dense(plan, model.spec.text);
  const OpenBenchmark benchmark = open_benchmark(options, true);  // before the weights: its mistakes show at once
  if (!benchmark.labelled)
    warn(
        fmt::format("{}: there are no labels among its files, so answers are asked for and not scored (labels: "
                    "--annotations)",
                    options.benchmark));
  EvaluationRun evaluation;
  evaluation.options = options;
  evaluation.model = name;
  evaluation.pruned = pruned;
  Fingerprint key;
  key.add(model.checkpoint.fingerprint()).add(plan_to_json(plan).dump());
  key.add(dataset_fingerprint(*benchmark.samples));
  key.add(fmt::format("{} {} {} {}", options.benchmark, benchmark.protocol, options.max_new_tokens,
                      short_name(runtime::computing_type(run, model.spec.dtype))));
  if (!prompts.text().empty()) key.add(prompts.text());
  key.add(prompt_fingerprint(model, prompts));
  if (dropping) key.add(dropping->text());
  evaluation.dropping = dropping;
  evaluation.fingerprint = key.hex();
  evaluation.shard = shard;
  evaluation.answers = answers_file(answers_folder, options.benchmark, pruned, shard, budget);
  const auto ask = [&](const EvaluationRun& part) {
    const Processor processor(model, prompts);
    const runtime::Engine engine(model, plan, run);
    return evaluate(engine, processor, benchmark, part);
  };
  std::optional<EvaluationResult> finished;
  if (leads(ranks)) finished = finished_evaluation(benchmark, evaluation);
  if (finished)
    note(fmt::format("{} ({}): as answered in {}", options.benchmark, pruned ? "pruned" : "dense",
                     evaluation.answers.string()));
  if (ranks) return evaluate_together(benchmark, evaluation, std::move(finished), ask, *ranks);
  return finished ? *std::move(finished) : ask(evaluation);
}

std::vector<EvaluationResult> evaluate_stage(const Recipe& recipe, const RunSettings& settings,
                                             const OutputFiles& files, const std::string& budget,
                                             const std::vector<EvaluationResult>* dense) {
  const runtime::Options run = engine_options(settings, recipe.dtype, recipe.device);
  const OpenModel original = open_model(recipe.model), pruned = open_model(files.pruned);
  const std::string fallback = budgets_of_checkpoint(pruned.checkpoint).fallback;
  const std::string runs = budget.empty() ? fallback : budget;
  const Plan plan = choose_plan(pruned, false, {}, runs);
  const std::vector<EvaluationResult> before = stored(files.eval, [&](const Json& json) {
                                                 return evaluation_from_json(json, files.eval.string());
                                               }).value_or(std::vector<EvaluationResult>());
  std::vector<EvaluationResult> results;
  for (size_t i = 0; i < recipe.evaluate.size(); ++i) {
    const EvaluateOptions& options = recipe.evaluate[i];
    // The same benchmark may be asked more than once (other questions): each entry keeps its own answers.
    const fs::path folder = recipe.evaluate.size() == 1 ? files.answers : files.answers / std::to_string(i);
    results.push_back(dense ? dense->at(2 * i)
                            : evaluate_one(original, dense_plan(original.spec.text), options, recipe.model.string(),
                                           recipe.prompts, run, folder, {}, "", {}, settings.ranks));
    results.push_back(evaluate_one(pruned, plan, options, files.pruned.string(), recipe.prompts, run, folder, {},
                                   runs == fallback ? "" : runs, {}, settings.ranks));
    results.back().budget = runs;
  }
  if (!leads(settings.ranks)) return results;
  for (size_t i = 0; i < results.size(); ++i) take_times(results[i], before, i);
  write_json(files.eval, evaluation_to_json(results));
  return results;
}

std::vector<BudgetEvaluation> evaluate_budgets(const Recipe& recipe, const RunSettings& settings,
                                               const OutputFiles& files) {
  const CheckpointBudgets there = budgets_of_checkpoint(open_model(files.pruned).checkpoint);
  std::vector<BudgetEvaluation> all{{there.fallback, evaluate_stage(recipe, settings, files)}};
  for (const std::string& budget : there.names) {
    if (budget == there.fallback) continue;
    const std::vector<EvaluationResult> dense = all.front().results;
    all.push_back({budget, evaluate_stage(recipe, settings, files_of_budget(recipe, files, budget), budget, &dense)});
  }
  return all;
}

}  // namespace yopo
