#include "cli/command.h"
#include "cli/output.h"
#include "plans/option_schema.h"

namespace yopo::cli {

void add_options(CLI::App& app, Context& context) {
  auto file = std::make_shared<std::string>();
  CLI::App* command = add_command(app, context, Runs::Nothing, "options", "The options of a plan as a table (Markdown)",
                                  "yopo options --write docs/formats.md");
  command->add_option("--write", *file, "Put the table into this file, between the lines that mark its place");
  command->callback([file, &context] {
    context.run = [file] {
      if (file->empty())
        print(option_table());
      else
        write_text(*file, with_option_table(read_text(*file), *file));
      return 0;
    };
  });
}

}  // namespace yopo::cli
