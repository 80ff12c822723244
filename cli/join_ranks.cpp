#include <cstdlib>
#include <thread>

#include "cli/command.h"
#include "cli/output.h"
#include "core/progress.h"
#include "core/version.h"
#include "ranks/launcher.h"

namespace yopo::cli {

void join_ranks(const std::string& command, Context& context) {
  const Variables variables = [](const char* name) -> const char* { return std::getenv(name); };
  const Launcher launcher = read_launcher(variables);
  if (!launcher.shared()) return;
  require(context.shares,
          "{}: started by {} as rank {} of {}, but only run, calibrate, plan and eval share their work: start it once, "
          "without the launcher",
          command, launcher.name, launcher.rank, launcher.size);
  GroupOptions options;
  options.join = join_timeout(variables);
  context.ranks = std::make_unique<Group>(launcher, options);
  Group& ranks = *context.ranks;
  if (!ranks.leads()) {
    set_quiet(true);
    mute_output();
  }
  ranks.agree({{"release", std::string(tool_version)}, {"command", command}});
  const int cores = int(std::max(1u, std::thread::hardware_concurrency()));
  if (context.threads == 0) context.threads = threads_of_rank(variables, cores, ranks.here());
  note(fmt::format("{}: {} ranks share the work, {} on this machine with {} threads each", launcher.name, ranks.size(),
                   ranks.here(), context.threads));
}

}  // namespace yopo::cli
