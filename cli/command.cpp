#include "cli/command.h"

#include "cli/output.h"
#include "core/values.h"

namespace yopo::cli {

RunSettings Context::settings() const {
  return {threads, memory.empty() ? 0 : int64_t(parse_size(memory, "--memory"))};
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
  return command;
}

void print_json(const Json& value) { print_exactly(value.dump(2) + "\n"); }

void add_dataset_flags(CLI::App* command, DatasetFlags& flags, bool required) {
  CLI::Option* questions = command->add_option("--questions", flags.questions, "Question file");
  command->add_option("--images", flags.images, "Folder of the images");
  command->add_option("--annotations", flags.annotations,
                      "Expected answers: a file, a folder or several, separated by commas");
  command->add_option("--format", flags.format, "llava (JSON lines) or conversations (JSON array)");
  command->add_option("--samples", flags.samples, "How many samples to use (0: all)")->check(CLI::NonNegativeNumber);
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
  require(given, "yopo {}: {} (see yopo {} --help)", command, what, command);
}

}  // namespace yopo::cli
