#include "cli/command.h"

#include <algorithm>
#include <cstdio>

#include "core/values.h"

namespace yopo::cli {

constexpr int64_t kLeastMemory = 100'000;

RunSettings Context::settings() const {
  if (memory.empty()) return {threads, 0};
  const int64_t bytes = int64_t(parse_size(memory, "--memory"));
  const bool bare = memory.find_first_not_of("0123456789") == std::string::npos;  // a number without its unit
  require(bytes >= kLeastMemory, "--memory: {} is {} bytes, too little for any model{}", memory, bytes,
          bare ? "; did you mean " + memory + "GB?" : "");
  return {threads, bytes};
}

CLI::App* add_command(CLI::App& app, Context& context, Runs runs, const std::string& name,
                      const std::string& description, const std::string& example) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer("Example:\n  " + example);
  command->add_flag("--json", context.json, "Print the result as JSON on standard output");
  command->add_flag("--quiet", context.quiet, "No progress on standard error");
  command->add_option("--threads", context.threads, "CPU threads (0: all)")->check(CLI::Range(0, 4096));
  if (runs == Runs::Model)
    command->add_option(
        "--memory", context.memory,
        "Most memory for weights, KV caches and activations, such as 16GB: layers beyond it are streamed");
  for (const CLI::Option* option : command->get_options()) context.shared.push_back(option->get_name());
  return command;
}

CLI::Validator at_least(int64_t low, const std::string& meaning) {
  return CLI::Validator(
      [low, meaning](const std::string& text) -> std::string {
        int64_t value = 0;
        if (!parse_decimal(text, value)) return "expected a whole number, found '" + printable(text) + "'";
        if (value >= low) return "";
        return fmt::format("expected {}{} or more, found {}", low, meaning.empty() ? "" : " (" + meaning + ")", value);
      },
      "");
}

void check_recipe_flags(const CLI::App& command, const Context& context, const std::vector<std::string>& heard) {
  const std::string recipe = "recipe";
  const bool given = command.count(recipe) > 0;
  require(given || command.count("--set") == 0, "{}: --set changes a key of a recipe, and none is given",
          command.get_name());
  const auto in = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  std::vector<std::string> deaf;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    if (option->count() > 0 && name != recipe && name != "--set" && !in(context.shared, name) && !in(heard, name))
      deaf.push_back(name);
  }
  require(!given || deaf.empty(),
          "{}: a recipe holds its own options, and {} beside it would not be heard: change them by --set KEY=VALUE "
          "(keys: docs/formats.md)",
          command.get_name(), fmt::join(deaf, ", "));
}

void print_json(const Json& value) { std::puts(value.dump(2).c_str()); }

void add_dataset_flags(CLI::App* command, DatasetFlags& flags, bool required) {
  CLI::Option* questions = command->add_option("--questions", flags.questions, "Question file");
  command->add_option("--images", flags.images, "Folder of the images");
  command->add_option("--annotations", flags.annotations,
                      "Expected answers: a file, a folder or several, separated by commas");
  command->add_option("--format", flags.format, "llava (JSON lines) or conversations (JSON array)");
  command->add_option("--samples", flags.samples, "How many samples to use (0: all)")->check(at_least(0, "all"));
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

void need(bool given, const std::string& command, const std::string& what) {
  require(given, "{}: {} (see yopo {} --help)", command, what, command);
}

}  // namespace yopo::cli
