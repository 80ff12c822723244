#include <cstdio>

#include "cli/command.h"
#include "cli/stages.h"
#include "cli/table.h"

namespace yopo::cli {

namespace {

struct Flags {
  std::string recipe, model, benchmark = "vqa", answers, output, plan, dtype = "auto", device = "auto", protocol, rule;
  std::vector<std::string> overrides;
  DatasetFlags dataset;
  int64_t batch_size = 1, max_new_tokens = 0;
  bool dense = false;
};

std::vector<EvaluationResult> evaluate_flags(const Flags& flags, const Context& context) {
  // MME is a folder; every other benchmark has a question file.
  const bool folder = flags.benchmark == "mme" && !(flags.dataset.images.empty() && flags.dataset.annotations.empty());
  need((!flags.dataset.questions.empty() || folder) && (!flags.model.empty() || !flags.answers.empty()), "eval",
       "give a recipe, or --questions (for mme: --images) with --model or --answers");
  EvaluateOptions options;
  options.benchmark = flags.benchmark;
  options.dataset = dataset_of(flags.dataset);
  options.batch_size = flags.batch_size;
  options.max_new_tokens = flags.max_new_tokens;
  options.protocol = flags.protocol;
  options.rule = flags.rule;
  if (!flags.answers.empty()) {
    EvaluationResult result = score_answers(open_benchmark(options, false), flags.answers);
    result.model = flags.model.empty() ? flags.answers : flags.model;
    return {result};
  }
  need(!flags.output.empty(), "eval", "give --output, the folder of the answers");
  const OpenModel model = open_model(flags.model);
  return {evaluate_one(model, choose_plan(model, flags.dense, flags.plan), options, flags.model,
                       engine_options(context, flags.dtype, flags.device), fs::path(flags.output) / "answers")};
}

int eval_command(const Flags& flags, const Context& context) {
  std::vector<EvaluationResult> results;
  if (!flags.recipe.empty()) {
    const Recipe recipe = read_recipe(flags.recipe, flags.overrides);
    const OutputFolder folder(recipe);
    results = evaluate_stage(recipe, context, folder.files());
  } else {
    results = evaluate_flags(flags, context);
    if (!flags.output.empty()) write_json(fs::path(flags.output) / "eval.json", evaluation_to_json(results));
  }
  if (context.json) {
    print_json(evaluation_to_json(results));
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"benchmark", "model", "category", "score"}};
  for (const EvaluationResult& result : results) {
    for (const auto& [name, value] : result.categories)
      rows.push_back({result.benchmark, result.pruned ? "pruned" : "dense", name, fmt::format("{:.4f}", value)});
    rows.push_back({result.benchmark, result.pruned ? "pruned" : "dense", fmt::format("all {}", result.count),
                    result.scored ? fmt::format("{:.4f}", result.score) : "-"});
  }
  std::printf("%s", format_table(rows).c_str());
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(
      app, context, "eval", "Score a checkpoint on a benchmark, or score ready answers",
      "yopo eval --model out/demo/pruned --benchmark vqa --questions examples/digitgrid/data/test/questions.jsonl \\\n"
      "      --images examples/digitgrid/data/test/images --batch-size 50 --output out/eval");
  command->add_option("recipe", flags->recipe, "Recipe file (instead of the flags)");
  command->add_option("--set", flags->overrides, "Override a key of the recipe: a.b=c");
  command->add_option("--model", flags->model, "Checkpoint folder; a pruned one runs pruned");
  command->add_option("--benchmark", flags->benchmark, "vqa, vqav2, gqa, scienceqa, textvqa, pope, mme or mmbench");
  command->add_option("--protocol", flags->protocol, "llava (default) or lmms, where lmms-eval's rules differ");
  command->add_option("--rule", flags->rule, "How MMBench answers become letters: letter (default), vlmevalkit or lmms");
  add_dataset_flags(command, flags->dataset, false);
  command->add_option("--batch-size", flags->batch_size, "Questions asked at once")->check(CLI::Range(int64_t(1), int64_t(4096)));
  command->add_option("--max-new-tokens", flags->max_new_tokens, "Tokens of an answer (0: the benchmark's own limit)")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--dense", flags->dense, "Run a pruned checkpoint whole");
  command->add_option("--plan", flags->plan, "Run under another plan");
  command->add_option("--dtype", flags->dtype, "auto, fp32, bf16, or on a GPU fp16");
  command->add_option("--device", flags->device, "cpu, cuda or auto");
  command->add_option("--answers", flags->answers, "Score these answers (JSON lines question_id, text) without a model");
  command->add_option("--output", flags->output, "Folder for eval.json and answers/");
  command->callback([flags, &context] { context.run = [flags, &context] { return eval_command(*flags, context); }; });
}

}  // namespace yopo::cli
