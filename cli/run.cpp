#include <cstdio>

#include "cli/command.h"
#include "cli/table.h"
#include "core/progress.h"
#include "evaluation/compare.h"
#include "exporters/export.h"
#include "pipeline/dry_run.h"
#include "pipeline/stages.h"

namespace yopo::cli {

namespace {

constexpr int64_t kTimedSamples = 20, kTimedRounds = 5, kTimedTokens = 4;

/// The prompts of the first evaluation (or of the calibration), for the side-by-side timing.
std::vector<ModelInput> timing_inputs(const Recipe& recipe, const OpenModel& model) {
  std::vector<Sample> samples = recipe.evaluate.empty() ? read_samples(recipe.calibration->dataset)
                                                        : *open_benchmark(recipe.evaluate.front(), true).samples;
  const Processor processor(model);
  std::vector<ModelInput> inputs;
  for (const Sample& sample : choose_samples(std::move(samples), kTimedSamples, recipe.seed))
    inputs.push_back(processor.prepare(sample));
  return inputs;
}

int run(const Recipe& recipe, const Context& context) {
  const OutputFolder output(recipe);
  const OutputFiles& files = output.files();
  resolve_device(recipe.device);
  const OpenModel model = open_model(recipe.model);
  note(fmt::format("model: {} ({}, {} decoder layers, {} visual tokens an image)", recipe.model.string(),
                   model.spec.layout, model.spec.text.num_hidden_layers,
                   model.spec.image_tokens() > 0 ? std::to_string(model.spec.image_tokens()) : "a varying number of"));
  const Statistics statistics = calibrate_stage(recipe, model, context.settings(), files.statistics);
  note(fmt::format("statistics: {} ({} samples)", files.statistics.string(), statistics.samples()));
  const Plan plan = plan_stage(recipe, model, statistics, files);
  note(fmt::format("plan: {}", files.plan.string()));
  ExportOptions options;
  options.shard_size = recipe.shard_size;
  export_checkpoint(model, plan, files.pruned, options);
  note(fmt::format("pruned checkpoint: {}", files.pruned.string()));
  const VerifyResult proof = verify_stage(recipe, context.settings(), files);
  for (const VerifyCheck& check : proof.checks)
    note(fmt::format("verify: {} {} {:.3g} (limit {:.3g})", check.passed ? "passed" : "FAILED", check.name, check.value,
                     check.limit));
  if (!proof.passed) {
    warn(fmt::format("the pruned checkpoint is not what the plan promised; see {}", files.verify.string()));
    if (context.json) print_json({{"verify", verify_to_json(proof)}});
    return 1;
  }
  const std::vector<EvaluationResult> results = evaluate_stage(recipe, context.settings(), files);
  const runtime::Options settings = engine_options(context.settings(), recipe.dtype, recipe.device);
  const OpenModel pruned_model = open_model(files.pruned);
  const runtime::Engine dense(model, dense_plan(model.spec.text), settings);
  const runtime::Engine pruned(pruned_model, choose_plan(pruned_model, false, {}), settings);
  const Comparison comparison = compare(dense, pruned, timing_inputs(recipe, model), kTimedRounds, kTimedTokens);
  if (context.json) {
    print_json({{"output", files.folder.string()},
                {"verify", verify_to_json(proof)},
                {"eval", evaluation_to_json(results)["results"]},
                {"comparison", comparison_to_json(comparison)}});
  } else {
    std::printf("\n%s: dense against pruned\n\n%s\nEverything is in %s\n", recipe.model.c_str(),
                run_table(results, comparison).c_str(), files.folder.c_str());
  }
  return 0;
}

}  // namespace

void add_run(CLI::App& app, Context& context) {
  struct Flags {
    std::string recipe;
    std::vector<std::string> overrides;
    bool dry_run = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, context, "run", "Do everything a recipe says: calibrate, plan, export, verify, evaluate",
                  "yopo run configs/demo.yaml --set plan.ffn.keep=0.5 --set output=out/half");
  command->add_option("recipe", flags->recipe, "Recipe file (YAML)")->required();
  command->add_option("--set", flags->overrides, "Override a key of the recipe: a.b=c")->take_all();
  command->add_flag("--dry-run", flags->dry_run, "Print resolved settings, FLOPs, memory and disk needed, and stop");
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      const Recipe recipe = read_recipe(flags->recipe, flags->overrides);
      require(recipe.plan.has_value() && recipe.calibration.has_value(),
              "{}: `yopo run` needs the sections calibration and plan", flags->recipe);
      if (!flags->dry_run) return run(recipe, context);
      const Json result = dry_run(recipe);
      if (context.json)
        print_json(result);
      else
        std::printf("%s", dry_run_text(result).c_str());
      return 0;
    };
  });
}

}  // namespace yopo::cli
