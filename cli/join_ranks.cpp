#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "cli/command.h"
#include "cli/output.h"
#include "core/progress.h"
#include "core/version.h"
#include "ranks/launcher.h"

namespace yopo::cli {

namespace {

/// The cores that this process may use, a 1 each: launchers may have given each rank its own.
std::string own_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::string cores;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int i = 0; i < CPU_SETSIZE; ++i) cores += CPU_ISSET(i, &set) ? '1' : '0';
  else  // more cores than the set has room for
    cores.assign(std::max(1u, std::thread::hardware_concurrency()), '1');
  cores.erase(cores.find_last_not_of('0') + 1);
  return cores;
}

}  // namespace

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
  context.ranks = std::make_unique<RankGroup>(launcher, options);
  RankGroup& ranks = *context.ranks;
  if (!ranks.leads()) {
    set_quiet(true);
    mute_output();
  }
  ranks.agree({{"release", std::string(tool_version)}, {"command", command}});
  const std::string cores = own_cores();
  const std::vector<std::string> all = ranks.gather(cores);
  int here = 0, sharing = 0;
  for (int k = 0; k < ranks.size(); ++k) {
    here += ranks.is_here(k);
    sharing += ranks.is_here(k) && all[size_t(k)] == cores;
  }
  if (context.threads == 0)
    context.threads = threads_of_rank(variables, int(std::count(cores.begin(), cores.end(), '1')), sharing);
  note(fmt::format("{}: {} ranks share the work, {} on this machine; rank 0 has {} threads", launcher.name,
                   ranks.size(), here, context.threads));
}

}  // namespace yopo::cli
