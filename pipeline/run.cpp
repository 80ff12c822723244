#include "pipeline/run.h"

#include "compress/make_plan.h"
#include "core/error.h"
#include "core/progress.h"
#include "exporters/export.h"
#include "exporters/transformers_code.h"
#include "models/prompt_identity.h"
#include "pipeline/samples.h"
#include "pipeline/stored.h"
#include "pipeline/together.h"
#include "plans/pruned_config.h"

namespace yopo {

namespace {

constexpr int64_t kTimedRounds = 5, kTimedTokens = 4;
constexpr const char* kProved = "proved";

/// What the times are of: they belong to these models, prompts and this way to run them.
std::string timing_inputs(const OpenModel& original, const OpenModel& pruned, const NamedSamples& samples,
                          const PromptOptions& prompts, const runtime::Options& run) {
  Fingerprint key;
  key.add(original.checkpoint.fingerprint()).add(pruned.checkpoint.fingerprint());
  key.add(dataset_fingerprint(samples.samples));
  key.add(fmt::format("{} rounds {} tokens {} {} threads {} memory {}", kTimedRounds, kTimedTokens, run.dtype,
                      run.device, run.threads, run.memory));
  if (!prompts.text().empty()) key.add(prompts.text());
  key.add(prompt_fingerprint(original, prompts)).add(prompt_fingerprint(pruned, prompts));
  return key.hex();
}

/// The comparison in the file, if it is of these inputs.
std::optional<Comparison> stored_comparison(const fs::path& file, const std::string& inputs) {
  const auto read = [&](const Json& json) -> std::optional<Comparison> {
    if (get_string_or(json, "inputs", file.string(), "") != inputs) return std::nullopt;
    return comparison_from_json(json, file.string());
  };
  return stored(file, read).value_or(std::nullopt);
}

Comparison compare_stage(const Recipe& recipe, const OpenModel& original, const NamedSamples& samples,
                         const RunSettings& settings, const OutputFiles& files) {
  const runtime::Options run = engine_options(settings, recipe.dtype, recipe.device);
  const OpenModel pruned_model = open_model(files.pruned);
  const std::string inputs = timing_inputs(original, pruned_model, samples, recipe.prompts, run);
  if (const std::optional<Comparison> known = stored_comparison(files.comparison, inputs)) {
    note(fmt::format("times: as in {}, of the same models and prompts", files.comparison.string()));
    return *known;
  }
  const Processor processor(original, recipe.prompts);
  const runtime::Engine dense(original, dense_plan(original.spec.text), run);
  const runtime::Engine pruned(
      pruned_model, choose_plan(pruned_model, false, {}, budgets_of_checkpoint(pruned_model.checkpoint).fallback), run);
  const Comparison comparison =
      compare(dense, pruned, inputs_of(processor, samples.samples), kTimedRounds, kTimedTokens);
  Json json = comparison_to_json(comparison);
  json["prompts"] = samples.name;
  json["inputs"] = inputs;
  write_json(files.comparison, json);
  return comparison;
}

std::vector<BudgetSummary> summaries(const std::vector<BudgetPlan>& plans,
                                     const std::vector<BudgetEvaluation>& evaluations) {
  std::vector<BudgetSummary> all;
  for (const BudgetPlan& one : plans)
    for (const BudgetEvaluation& evaluation : evaluations)
      if (plans.size() > 1 && evaluation.budget == one.budget)
        all.push_back({one.budget, &evaluation == &evaluations.front(),
                       one.plan.provenance.at("search").at("visual_flops"), evaluation.results});
  return all;
}

void check_there(const DatasetOptions& dataset) {
  for (const std::string& missing : missing_paths(dataset)) fail("{}", missing);
}

void note_model(const Recipe& recipe, const OpenModel& model) {
  note(fmt::format("model: {} ({}, {} decoder layers, {} visual tokens an image)", recipe.model.string(),
                   model.spec.layout, model.spec.text.num_hidden_layers,
                   model.spec.image_tokens() > 0 ? std::to_string(model.spec.image_tokens()) : "a varying number of"));
}

}  // namespace

RunResult run_recipe(const Recipe& recipe, const RunSettings& settings) {
  require(recipe.plan.has_value() && recipe.calibration.has_value(),
          "{}: `yopo run` needs the sections calibration and plan", recipe.file.string());
  resolve_device(recipe.device);
  const OpenModel model = open_recipe_model(recipe);
  // What would stop the run later, before the folder belongs to this recipe.
  if (recipe.transformers_code) check_transformers_code(model.checkpoint.config(), recipe.model.string());
  check_exportable(model.checkpoint.config(), recipe.model.string(),
                   parse_semantics(recipe.plan->semantics, recipe.file.string() + ": plan"));
  (void)sized_plan(*recipe.plan, model.spec.text, recipe.file.string() + ": plan");
  check_there(recipe.calibration->dataset);
  for (const EvaluateOptions& options : recipe.evaluate) check_there(options.dataset);
  RankGroup* const ranks = settings.ranks;
  if (ranks) agree_on_recipe(*ranks, recipe, model, resolve_device(recipe.device));
  const OutputFolder output(recipe, ranks);
  RunResult result;
  const OutputFiles& files = result.files = output.files();
  note_model(recipe, model);
  const Statistics statistics = calibrate_stage(recipe, model, settings, files.statistics);
  note(fmt::format("statistics: {} ({} samples)", files.statistics.string(), statistics.samples()));
  const std::vector<BudgetPlan> plans = plans_stage(recipe, model, statistics, settings, files);
  if (!leads(ranks)) {
    // Rank 0 exports and proves, and says how that went.
    result.verify.passed = ranks->broadcast("") == kProved;
    if (!result.verify.passed) return result;
    wait_for_file(*ranks, files.pruned / "config.json", 0);
    (void)evaluate_budgets(recipe, settings, files);
    return result;
  }
  note(fmt::format("plan: {}", files.plan.string()));
  export_stage(recipe, model, plans, files);
  note(fmt::format("pruned checkpoint: {}", files.pruned.string()));
  // Every plan is proved and scored; times are of the default.
  for (const BudgetPlan& one : plans) {
    const VerifyResult proof =
        verify_stage(recipe, settings, files_of_budget(recipe, files, one.budget), Reuse::Same, one.budget);
    const bool own = one.budget.empty() || one.budget == budget_name(*recipe.plan->budget);
    if (!one.budget.empty()) note(fmt::format("verify: budget {}: {}", one.budget, proof.passed ? "passed" : "FAILED"));
    if (own || (result.verify.passed && !proof.passed)) result.verify = proof;
    if (!proof.passed) break;
  }
  for (const VerifyCheck& check : result.verify.checks)
    note(fmt::format("verify: {} {} {:.3g} (limit {:.3g})", check.passed ? "passed" : "FAILED", check.name, check.value,
                     check.limit));
  if (ranks) ranks->broadcast(result.verify.passed ? kProved : "");
  if (!result.verify.passed) {
    warn(fmt::format("the pruned checkpoint is not what the plan promised; see {}", files.verify.string()));
    return result;
  }
  const std::vector<BudgetEvaluation> evaluations = evaluate_budgets(recipe, settings, files);
  result.evaluation = evaluations.front().results;
  result.budgets = summaries(plans, evaluations);
  const NamedSamples samples = figure_samples(recipe);
  result.prompts = samples.name;
  result.comparison = compare_stage(recipe, model, samples, settings, files);
  return result;
}

Json run_to_json(const RunResult& result) {
  Json json{{"verify", verify_to_json(result.verify)}};
  if (!result.comparison) return json;
  json = {{"output", result.files.folder.string()},
          {"verify", json["verify"]},
          {"eval", evaluation_to_json(result.evaluation)["results"]},
          {"prompts", result.prompts},
          {"comparison", comparison_to_json(*result.comparison)}};
  for (const BudgetSummary& one : result.budgets)
    json["budgets"].push_back({{"budget", one.budget},
                               {"default", one.fallback},
                               {"visual_flops", one.visual_flops},
                               {"eval", evaluation_to_json(one.evaluation)["results"]}});
  return json;
}

}  // namespace yopo
