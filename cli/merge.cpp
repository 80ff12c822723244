#include "calibration/statistics.h"
#include "cli/command.h"
#include "cli/output.h"

namespace yopo::cli {

void add_merge(CLI::App& app, Context& context) {
  struct Flags {
    std::vector<std::string> parts;
    std::string output;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(app, context, Runs::Nothing, "merge",
                                  "Merge statistics of disjoint samples (several machines' shares)",
                                  "yopo merge part1.h5 part2.h5 --output stats.h5");
  command->add_option("parts", flags->parts, "Statistics files, one after the other or separated by commas")
      ->required()
      ->delimiter(',');
  command->add_option("--output", flags->output, "Statistics file to write")->required();
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      std::vector<Statistics> parts;
      for (const std::string& part : flags->parts) parts.push_back(read_statistics(part));
      const Statistics whole = merge_statistics(parts);
      write_statistics(flags->output, whole);
      if (context.json)
        print_json({{"output", flags->output}, {"samples", whole.samples()}});
      else
        print(fmt::format("{}: {} samples of {} files\n", escaped(flags->output), whole.samples(), parts.size()));
      return 0;
    };
  });
}

}  // namespace yopo::cli
