#include "exporters/export.h"

#include <algorithm>

#include "cli/command.h"
#include "cli/output.h"
#include "core/values.h"
#include "pipeline/stages.h"

namespace yopo::cli {

void add_export(CLI::App& app, Context& context) {
  struct Flags {
    std::string recipe, model, output, shard_size = "5GB";
    std::vector<std::string> overrides, plans;
    bool transformers_code = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(app, context, Runs::Nothing, "export",
                                  "Write the pruned checkpoint: reordered, still a plain dense one",
                                  "yopo export --model examples/digitgrid/model --plan plan.json --output pruned");
  add_recipe_flags(command, flags->recipe, flags->overrides);
  command->add_option("--model", flags->model, "Dense checkpoint folder");
  command->add_option("--plan", flags->plans, "Plan file; several of one search: a checkpoint with a plan a budget");
  command->add_option("--shard-size", flags->shard_size, "Bytes of tensors in one file: 5GB, 512MiB, ...");
  command->add_flag("--transformers-code", flags->transformers_code,
                    "Put code beside the weights that runs them pruned in transformers (trust_remote_code=True)");
  command->add_option("--output", flags->output, "Folder to write");
  command->callback([flags, command, &context] {
    context.run = [flags, command, &context] {
      check_recipe_flags(*command, {"--plan", "--output"});
      ExportOptions options;
      fs::path model = flags->model, output = flags->output;
      std::vector<std::string> files = flags->plans;
      std::string fallback;
      std::optional<OutputFolder> folder;
      if (!flags->recipe.empty()) {
        const Recipe recipe = read_recipe(flags->recipe, flags->overrides);
        (void)open_recipe_model(recipe);
        folder.emplace(recipe);
        model = recipe.model;
        if (files.empty() && recipe.budgets.empty()) files = {folder->files().plan.string()};
        if (files.empty())
          for (const double budget : recipe.budgets)
            files.push_back(files_of_budget(recipe, folder->files(), budget_name(budget)).plan.string());
        if (recipe.plan && recipe.plan->budget) fallback = budget_name(*recipe.plan->budget);
        if (output.empty()) output = folder->files().pruned;
        options.shard_size = recipe.shard_size;
        options.transformers_code = recipe.transformers_code;
      } else {
        need(!model.empty() && !files.empty() && !output.empty(), "export",
             "give a recipe, or --model, --plan and --output");
        options.shard_size = parse_size(flags->shard_size, "--shard-size");
        options.transformers_code = flags->transformers_code;
      }
      const OpenModel source = open_model(model);
      Companions companions;
      if (files.size() == 1) {
        companions = export_checkpoint(source, read_plan(files[0]), output, options);
      } else {
        std::vector<BudgetPlan> plans;
        for (const std::string& file : files) {
          Plan plan = read_plan(file);
          const std::string budget = budget_of(plan);
          require(!budget.empty(), "{}: was not made for a budget, so it cannot be one of several plans", file);
          plans.push_back({budget, std::move(plan)});
        }
        std::vector<std::string> names = names_of(plans);
        std::sort(names.begin(), names.end(), larger_budget);
        if (std::find(names.begin(), names.end(), fallback) == names.end()) fallback = names.front();
        companions = export_elastic(source, std::move(plans), fallback, output, options);
      }
      if (context.json) {
        Json left_out = Json::array();
        for (const LeftOut& one : companions.left_out) left_out.push_back({{"path", one.path}, {"why", one.why}});
        print_json({{"output", output.string()},
                    {"copied", companions.copied},
                    {"derived", companions.derived},
                    {"not_copied", left_out}});
      } else {
        print(escaped(output.string()) + "\n");
      }
      return 0;
    };
  });
}

}  // namespace yopo::cli
