#include "cli/command.h"
#include "cli/output.h"
#include "core/progress.h"
#include "evaluation/shard.h"
#include "pipeline/stages.h"
#include "pipeline/together.h"

namespace yopo::cli {

namespace {

struct CalibrateFlags {
  std::string recipe, model, queries = "prefill", part = "1/1", dtype = "auto", output;
  PromptOptions prompts;
  std::vector<std::string> overrides;
  DatasetFlags dataset;
  uint64_t seed = 0;
};

/// "K/N", counted from 1 as --shard is.
Shard parse_part(const std::string& text) {
  require(!text.starts_with("0/"), "--part: parts are counted from 1, as shards are; the first of N is 1/N, found '{}'",
          text);
  return parse_shard(text, "--part");
}

int calibrate_command(const CalibrateFlags& flags, const Context& context) {
  Statistics statistics;
  fs::path output = flags.output;
  if (!flags.recipe.empty()) {
    const Recipe recipe = read_recipe(flags.recipe, with_prompts(flags.overrides, flags.prompts));
    const OpenModel model = open_recipe_model(recipe);
    if (context.ranks) agree_on_recipe(*context.ranks, recipe, model, resolve_device(recipe.device));
    const OutputFolder folder(recipe, context.ranks.get());
    if (output.empty()) output = folder.files().statistics;
    statistics = calibrate_stage(recipe, model, context.settings(), output);
  } else {
    need(!flags.model.empty() && !flags.dataset.questions.empty() && !output.empty(), "calibrate",
         "give a recipe, or --model, --questions, --images and --output");
    CalibrationRun run;
    run.dtype = flags.dtype;
    run.threads = context.threads;
    run.memory = context.settings().memory;
    run.seed = flags.seed;
    run.prompts = flags.prompts;
    run.options.queries = parse_queries(flags.queries, "--queries");
    run.options.dataset = dataset_of(flags.dataset);
    const Shard part = parse_part(flags.part);
    run.part = part.number - 1;
    run.parts = part.count;
    require(!context.ranks || run.parts == 1,
            "calibrate: --part is for processes that do not know of each other; {} shares the samples by itself",
            context.ranks ? context.ranks->name() : "");
    statistics = calibrate_together(open_model(flags.model), run, output, context.ranks.get());
  }
  if (context.follows()) return 0;
  if (context.json) {
    print_json({{"output", output.string()},
                {"samples", statistics.samples()},
                {"layers", statistics.layers},
                {"heads", statistics.heads},
                {"intermediate_size", statistics.intermediate_size},
                {"fingerprint", statistics.fingerprint}});
  } else {
    print(fmt::format("{}: {} samples, {} layers, {} heads, {} neurons a layer\n", escaped(output.string()),
                      statistics.samples(), statistics.layers, statistics.heads, statistics.intermediate_size));
  }
  return 0;
}

}  // namespace

void add_calibrate(CLI::App& app, Context& context) {
  auto flags = std::make_shared<CalibrateFlags>();
  CLI::App* command = add_command(
      app, context, Runs::Model, "calibrate", "Gather attention and FFN statistics of visual tokens into stats.h5",
      "yopo calibrate --model examples/digitgrid/model --questions examples/digitgrid/data/calib/questions.jsonl \\\n"
      "      --images examples/digitgrid/data/calib/images --samples 100 --output stats.h5");
  add_recipe_flags(command, flags->recipe, flags->overrides);
  command->add_option("--model", flags->model, "Checkpoint folder");
  add_dataset_flags(command, flags->dataset, false);
  command->add_option("--queries", flags->queries, "Whose attention rows the ratio sums: prefill, text or decode");
  command->add_option("--part", flags->part,
                      "K/N: this process takes the K-th of N shares of the samples; merge the files afterwards");
  command->add_option("--seed", flags->seed, "Chooses the samples when there are more than --samples")
      ->check(whole_number(0));
  command->add_option("--dtype", flags->dtype, "auto, fp32 or bf16")->check(dtype_name());
  add_prompt_flags(command, flags->prompts);
  command->add_option("--output", flags->output, "Statistics file to write");
  command->callback([flags, command, &context] {
    context.resumes = context.shares = true;
    context.run = [flags, command, &context] {
      check_recipe_flags(*command, {"--template", "--image-backend", "--exif-transpose", "--output"});
      return calibrate_command(*flags, context);
    };
  });
}

}  // namespace yopo::cli
