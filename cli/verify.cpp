#include "evaluation/verify.h"

#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "core/writable.h"
#include "pipeline/stages.h"

namespace yopo::cli {

void add_verify(CLI::App& app, Context& context) {
  struct Flags {
    std::string recipe, model, original, output, budget;
    PromptOptions prompts;
    std::vector<std::string> overrides;
    DatasetFlags dataset;
    uint64_t seed = 0;
    int64_t max_new_tokens = 16;
  };
  auto flags = std::make_shared<Flags>();
  flags->dataset.samples = 16;
  CLI::App* command = add_command(app, context, Runs::Model, "verify",
                                  "Prove a pruned checkpoint: runtime against Torch, counted against promised",
                                  "yopo verify --model out/demo/pruned --original examples/digitgrid/model \\\n"
                                  "      --questions examples/digitgrid/data/calib/questions.jsonl --images "
                                  "examples/digitgrid/data/calib/images \\\n"
                                  "      --samples 50 --output verify.json");
  add_recipe_flags(command, flags->recipe, flags->overrides);
  command->add_option("--model", flags->model, "Pruned checkpoint folder");
  command->add_option("--original", flags->original, "The dense checkpoint it came from");
  add_dataset_flags(command, flags->dataset, false);
  command->add_option("--seed", flags->seed, "Chooses the samples")->check(whole_number(0));
  command->add_option("--max-new-tokens", flags->max_new_tokens, "Tokens of greedy text to compare")
      ->check(whole_number(1))
      ->capture_default_str();
  add_prompt_flags(command, flags->prompts);
  command->add_option("--output", flags->output, "verify.json to write");
  add_budget_flag(command, flags->budget);
  command->callback([flags, command, &context] {
    context.run = [flags, command, &context] {
      check_recipe_flags(*command, {"--template", "--image-backend", "--exif-transpose"});
      VerifyResult result;
      if (!flags->recipe.empty()) {
        const Recipe recipe = read_recipe(flags->recipe, with_prompts(flags->overrides, flags->prompts));
        (void)open_recipe_model(recipe);
        const OutputFolder folder(recipe);
        result = verify_stage(recipe, context.settings(), folder.files(), Reuse::No);
      } else {
        need(!flags->model.empty() && !flags->dataset.questions.empty(), "verify",
             "give a recipe, or --model, --questions and --images");
        if (!flags->output.empty()) check_writable(flags->output);
        VerifyOptions options;
        options.original = flags->original;
        const runtime::Options run = engine_options(context.settings(), "fp32", "cpu");
        options.threads = run.threads;
        options.memory = run.memory;
        options.max_new_tokens = flags->max_new_tokens;
        options.prompts = flags->prompts;
        options.samples = choose_samples(read_samples(dataset_of(flags->dataset)), flags->dataset.samples, flags->seed);
        const OpenModel model = open_model(flags->model);
        options.budget = chosen_budget(model, flags->budget);
        result = verify(model, options);
        if (!flags->output.empty()) write_json(flags->output, verify_to_json(result));
      }
      if (context.json) {
        print_json(verify_to_json(result));
      } else {
        std::vector<std::vector<std::string>> rows{{"check", "value", "limit", "result"}};
        for (const VerifyCheck& check : result.checks)
          rows.push_back({check.name, fmt::format("{:.3g}", check.value), fmt::format("{:.3g}", check.limit),
                          check.passed ? "passed" : "FAILED"});
        print(format_table(rows));
      }
      return result.passed ? 0 : 1;
    };
  });
}

}  // namespace yopo::cli
