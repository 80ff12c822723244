#include "cli/command.h"
#include "cli/output.h"
#include "models/checkpoint_keys.h"
#include "plans/option_schema.h"

namespace yopo::cli {

void add_options(CLI::App& app, Context& context) {
  auto file = std::make_shared<std::string>();
  CLI::App* command = add_command(app, context, Runs::Nothing, "options",
                                  "The options of a plan, and the keys of checkpoints' files, as tables (Markdown)",
                                  "yopo options --write docs/formats.md");
  command->add_option("--write", *file, "Put the tables into this file, between the lines that mark their places");
  command->callback([file, &context] {
    context.run = [file] {
      if (file->empty())
        print(option_table() + "\n" + checkpoint_key_table());
      else
        write_text(*file, with_checkpoint_keys(with_option_table(read_text(*file), *file), *file));
      return 0;
    };
  });
}

}  // namespace yopo::cli
