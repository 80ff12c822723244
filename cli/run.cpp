#include "pipeline/run.h"

#include <cstdio>

#include "cli/command.h"
#include "cli/table.h"
#include "pipeline/dry_run.h"

namespace yopo::cli {

namespace {

struct Flags {
  std::string recipe;
  std::vector<std::string> overrides;
  bool dry_run = false;
};

int dry_run_command(const Recipe& recipe, const Context& context) {
  const Json result = dry_run(recipe, context.settings());
  if (context.json)
    print_json(result);
  else
    std::printf("%s", dry_run_text(result).c_str());
  return result["problems"].empty() ? 0 : 1;
}

int run_command(const Recipe& recipe, const Context& context) {
  const RunResult result = run_recipe(recipe, context.settings());
  if (context.json)
    print_json(run_to_json(result));
  else if (result.comparison)
    std::printf("\n%s: dense against pruned\n\n%s\nFLOPs, KV cache and times are of %s\nEverything is in %s\n",
                recipe.model.c_str(), run_table(result.evaluation, *result.comparison).c_str(), result.prompts.c_str(),
                result.files.folder.c_str());
  return result.verify.passed ? 0 : 1;
}

}  // namespace

void add_run(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(app, context, Runs::Model, "run",
                                  "Do everything a recipe says: calibrate, plan, export, verify, evaluate",
                                  "yopo run configs/demo.yaml --set plan.ffn.keep=0.5 --set output=out/half");
  command->add_option("recipe", flags->recipe, "Recipe file (YAML)")->required();
  command->add_option("--set", flags->overrides, "Override a key of the recipe: a.b=c")->take_all();
  command->add_flag("--dry-run", flags->dry_run,
                    "Print resolved settings, FLOPs, memory and disk needed and what is missing, and stop");
  command->callback([flags, &context] {
    context.resumes = true;
    context.run = [flags, &context] {
      const Recipe recipe = read_recipe(flags->recipe, flags->overrides);
      require(recipe.plan.has_value() && recipe.calibration.has_value(),
              "{}: `yopo run` needs the sections calibration and plan", flags->recipe);
      return flags->dry_run ? dry_run_command(recipe, context) : run_command(recipe, context);
    };
  });
}

}  // namespace yopo::cli
