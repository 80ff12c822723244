#include "calibration/statistics.h"
#include "cli/command.h"
#include "cli/output.h"

namespace yopo::cli {

namespace {

/// Statistics take hours: a finished file makes way for the same ones only.
void check_not_replaced(const fs::path& output, const Statistics& whole) {
  if (!fs::exists(output)) return;
  const Statistics there = read_statistics(output);
  require(there.fingerprint == whole.fingerprint && there.ids == whole.ids && there.repeats == whole.repeats &&
              there.held == whole.held,
          "{}: other statistics are there already ({} samples); choose another output, or delete the file",
          output.string(), there.samples());
}

}  // namespace

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
      for (const std::string& part : flags->parts) {
        require(fs::weakly_canonical(part) != fs::weakly_canonical(flags->output),
                "merge: --output {} is one of the parts; choose another name", flags->output);
        parts.push_back(read_statistics(part));
      }
      const Statistics whole = merge_statistics(parts);
      const std::string missing = missing_parts(whole);
      require(missing.empty(), "merge: part {} is missing; the files are {} of the {} parts", missing,
              whole.held.size(), whole.parts);
      check_not_replaced(flags->output, whole);
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
