#include "pipeline/run.h"

#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "pipeline/dry_run.h"

namespace yopo::cli {

namespace {

struct RunFlags {
  std::string recipe;
  PromptOptions prompts;
  std::vector<std::string> overrides;
  bool dry_run = false;
};

int dry_run_command(const Recipe& recipe, const Context& context) {
  if (context.follows()) return 0;
  const Json result = dry_run(recipe, context.settings());
  if (context.json)
    print_json(result);
  else
    print(dry_run_text(result));
  return result["problems"].empty() ? 0 : 1;
}

int run_command(const Recipe& recipe, const Context& context) {
  const RunResult result = run_recipe(recipe, context.settings());
  if (context.follows()) return result.verify.passed ? 0 : 1;
  if (context.json)
    print_json(run_to_json(result));
  else if (result.comparison)
    print(fmt::format("\n{}: dense against pruned\n\n{}\nFLOPs, KV cache and times are of {}\n{}Everything is in {}\n",
                      escaped(recipe.model.string()), run_table(result.evaluation, *result.comparison), result.prompts,
                      result.budgets.empty() ? "" : "\n" + budget_table(result.budgets) + "\n",
                      escaped(result.files.folder.string())));
  return result.verify.passed ? 0 : 1;
}

}  // namespace

void add_run(CLI::App& app, Context& context) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* command = add_command(app, context, Runs::Model, "run",
                                  "Do everything a recipe says: calibrate, plan, export, verify, evaluate",
                                  "yopo run configs/demo.yaml --set plan.ffn.keep=0.5 --set output=out/half");
  command->add_option("recipe", flags->recipe, "Recipe file (YAML)")->required();
  command->add_option("--set", flags->overrides, "Override a key of the recipe: a.b=c")->take_all();
  add_prompt_flags(command, flags->prompts);
  command->add_flag("--dry-run", flags->dry_run,
                    "Print resolved settings, FLOPs, memory and disk needed and what is missing, and stop");
  command->callback([flags, &context] {
    context.resumes = context.shares = true;
    context.run = [flags, &context] {
      const Recipe recipe = read_recipe(flags->recipe, with_prompts(flags->overrides, flags->prompts));
      require(recipe.plan.has_value() && recipe.calibration.has_value(),
              "{}: `yopo run` needs the sections calibration and plan", flags->recipe);
      return flags->dry_run ? dry_run_command(recipe, context) : run_command(recipe, context);
    };
  });
}

}  // namespace yopo::cli
