#include "cli/command.h"

#include <algorithm>

#include "cli/output.h"
#include "core/error.h"
#include "core/values.h"
#include "plans/option_schema.h"

namespace yopo::cli {

constexpr int64_t kLeastMemory = 100'000;

RunSettings Context::settings() const {
  if (memory.empty()) return {threads, 0, ranks.get()};
  const int64_t bytes = int64_t(parse_size(memory, "--memory"));
  const bool bare = memory.find_first_not_of("0123456789") == std::string::npos;  // a number without its unit
  require(bytes >= kLeastMemory, "--memory: {} is {} bytes, too little for any model{}", memory, bytes,
          bare ? "; did you mean " + memory + "GB?" : "");
  return {threads, bytes, ranks.get()};
}

CLI::App* add_command(CLI::App& app, Context& context, Runs runs, const std::string& name,
                      const std::string& description, const std::string& example) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer("Example:\n  " + example);
  command->add_flag("--json", context.json, "Print the result as JSON on standard output");
  command->add_flag("--quiet", context.quiet, "No progress on standard error");
  command->add_flag("--strict", context.strict, "A warning about a file from outside is an error");
  command->add_option("--threads", context.threads, "CPU threads (0: all)")->check(whole_number(0, 4096));
  if (runs == Runs::Model)
    command->add_option(
        "--memory", context.memory,
        "Most memory for weights, KV caches and activations, such as 16GB: layers beyond it are streamed");
  return command;
}

void add_recipe_flags(CLI::App* command, std::string& recipe, std::vector<std::string>& overrides) {
  command->add_option("recipe", recipe, "Recipe file (instead of the flags)");
  command->add_option("--set", overrides, "Override a key of the recipe: a.b=c");
}

void check_recipe_flags(const CLI::App& command, const std::vector<std::string>& with_recipe) {
  const bool recipe = command.get_option("recipe")->count() > 0;
  require(recipe || command.get_option("--set")->count() == 0, "{}: --set changes a recipe, and none is given",
          command.get_name());
  if (!recipe) return;
  std::vector<std::string> unread;
  const std::vector<const CLI::Option*> all = command.get_options();
  const auto own = std::find(all.begin(), all.end(), command.get_option("--set")) + 1;
  for (auto option = own; option != all.end(); ++option) {
    const std::string name = (*option)->get_name();
    if ((*option)->count() > 0 && std::find(with_recipe.begin(), with_recipe.end(), name) == with_recipe.end())
      unread.push_back(name);
  }
  require(unread.empty(),
          "{}: {} {} not read beside a recipe, which holds its own options: change them by --set KEY=VALUE (keys: "
          "docs/formats.md)",
          command.get_name(), fmt::join(unread, ", "), unread.size() == 1 ? "is" : "are");
}

void print_json(const Json& value) { print_exactly(value.dump(2) + "\n"); }

void add_dataset_flags(CLI::App* command, DatasetFlags& flags, bool required) {
  CLI::Option* questions = command->add_option("--questions", flags.questions, "Question file");
  command->add_option("--images", flags.images, "Folder of the images");
  command->add_option("--annotations", flags.annotations,
                      "Expected answers: a file, a folder or several, separated by commas");
  command->add_option("--format", flags.format, "llava (JSON lines) or conversations (JSON array)")
      ->check(one_of({"llava", "conversations"}));
  command->add_option("--samples", flags.samples, "How many samples to use (0: all)")->check(whole_number(0, "all"));
  if (required) questions->required();
}

DatasetOptions dataset_of(const DatasetFlags& flags) {
  DatasetOptions options;
  options.format = flags.format;
  options.questions = flags.questions;
  options.images = flags.images;
  options.annotations = flags.annotations;
  options.samples = flags.samples;
  return options;
}

void add_budget_flag(CLI::App* command, std::string& budget) {
  command->add_option("--budget", budget, "Which plan of a checkpoint with several (default: its own default)");
}

void add_prompt_flags(CLI::App* command, PromptOptions& prompts) {
  command->add_option("--template", prompts.chat_template, "Chat template by name, instead of the checkpoint's own");
  command
      ->add_option("--image-backend", prompts.image_backend,
                   "Whose resize prepares images: pil or torchvision (default: what the checkpoint's files ask for)")
      ->check(one_of({"pil", "torchvision"}));
  command->add_flag("--exif-transpose", prompts.exif_transpose,
                    "Turn images as their Exif blocks say (no processor does by itself)");
}

std::vector<std::string> with_prompts(std::vector<std::string> overrides, const PromptOptions& prompts) {
  if (!prompts.chat_template.empty()) overrides.push_back("model.template=" + yaml_quoted(prompts.chat_template));
  if (!prompts.image_backend.empty()) overrides.push_back("model.image_backend=" + prompts.image_backend);
  if (prompts.exif_transpose) overrides.emplace_back("model.exif_transpose=true");
  return overrides;
}

void need(bool given, const std::string& command, const std::string& what) {
  require(given, "{}: {} (see yopo {} --help)", command, what, command);
}

}  // namespace yopo::cli
