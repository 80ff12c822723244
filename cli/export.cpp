#include "exporters/export.h"

#include "cli/command.h"
#include "cli/output.h"
#include "core/values.h"
#include "pipeline/stages.h"

namespace yopo::cli {

void add_export(CLI::App& app, Context& context) {
  struct Flags {
    std::string recipe, model, plan, output, shard_size = "5GB";
    std::vector<std::string> overrides;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(app, context, Runs::Nothing, "export",
                                  "Write the pruned checkpoint: reordered, still a plain dense one",
                                  "yopo export --model examples/digitgrid/model --plan plan.json --output pruned");
  add_recipe_flags(command, flags->recipe, flags->overrides);
  command->add_option("--model", flags->model, "Dense checkpoint folder");
  command->add_option("--plan", flags->plan, "Plan file");
  command->add_option("--shard-size", flags->shard_size, "Bytes of tensors in one file: 5GB, 512MiB, ...");
  command->add_option("--output", flags->output, "Folder to write");
  command->callback([flags, command, &context] {
    context.run = [flags, command, &context] {
      check_recipe_flags(*command, {"--plan", "--output"});
      ExportOptions options;
      fs::path model = flags->model, plan = flags->plan, output = flags->output;
      std::optional<OutputFolder> folder;
      if (!flags->recipe.empty()) {
        const Recipe recipe = read_recipe(flags->recipe, flags->overrides);
        (void)open_recipe_model(recipe);
        folder.emplace(recipe);
        model = recipe.model;
        if (plan.empty()) plan = folder->files().plan;
        if (output.empty()) output = folder->files().pruned;
        options.shard_size = recipe.shard_size;
      } else {
        need(!model.empty() && !plan.empty() && !output.empty(), "export",
             "give a recipe, or --model, --plan and --output");
        options.shard_size = parse_size(flags->shard_size, "--shard-size");
      }
      const Companions companions = export_checkpoint(open_model(model), read_plan(plan), output, options);
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
