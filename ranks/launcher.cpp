#include "ranks/launcher.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "core/error.h"

namespace yopo {
namespace {

constexpr int kMostRanks = 65'536, kMostPort = 65'535, kMostSeconds = 1'000'000, kMostThreads = 4096;

struct Names {
  const char *launcher, *rank, *size;
  const char* meet;  // how MASTER_ADDR and MASTER_PORT get to all ranks
};

// A launcher inside another's job hides it, so the one nearest to the processes comes first.
constexpr Names kNames[] = {
    {"torchrun", "RANK", "WORLD_SIZE", "export both, or start with torchrun, which sets them"},
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
     "mpirun -x MASTER_ADDR=HOST -x MASTER_PORT=29500 ..., HOST being the machine of rank 0"},
    {"mpirun", "PMI_RANK", "PMI_SIZE",
     "mpirun -genv MASTER_ADDR HOST -genv MASTER_PORT 29500 ..., HOST being the machine of rank 0"},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS",
     "export MASTER_PORT=29500 MASTER_ADDR=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1) before srun"},
};

std::string value_of(const Variables& variables, const char* name) {
  const char* value = variables(name);
  return value == nullptr ? "" : value;
}

int whole_number_of(const Variables& variables, const char* name, int low, int high) {
  const std::string text = value_of(variables, name);
  int value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  require(error == std::errc() && stop == end && value >= low && value <= high,
          "{} (environment): expected a whole number from {} to {}, found '{}'", name, low, high, printable(text));
  return value;
}

/// The variables by which this process was started. Slurm sets the number of a task for a batch script, too, which runs
/// once: only a step has tasks.
const Names* started_by(const Variables& variables) {
  for (const Names& names : kNames) {
    const bool rank = variables(names.rank) != nullptr, size = variables(names.size) != nullptr;
    if (rank && size) return &names;
    if (std::string_view(names.launcher) == "srun") continue;
    require(!rank && !size, "{} is set in the environment and {} is not: {} sets both", rank ? names.rank : names.size,
            rank ? names.size : names.rank, names.launcher);
  }
  return nullptr;
}

}  // namespace

Launcher read_launcher(const Variables& variables) {
  const Names* names = started_by(variables);
  if (!names) return {};
  Launcher launcher;
  launcher.size = whole_number_of(variables, names->size, 1, kMostRanks);
  launcher.rank = whole_number_of(variables, names->rank, 0, kMostRanks);
  require(launcher.rank < launcher.size, "{} is {} and {} is {} (environment): ranks are counted from 0", names->rank,
          launcher.rank, names->size, launcher.size);
  if (!launcher.shared()) return {};
  launcher.name = names->launcher;
  launcher.address = value_of(variables, "MASTER_ADDR");
  for (const char* meet : {"MASTER_ADDR", "MASTER_PORT"})
    require(!value_of(variables, meet).empty(),
            "started by {} as rank {} of {}, but {} is not set: the ranks meet at rank 0's machine and a free port of "
            "it; {}",
            launcher.name, launcher.rank, launcher.size, meet, names->meet);
  launcher.port = whole_number_of(variables, "MASTER_PORT", 1, kMostPort);
  launcher.holds_store = value_of(variables, "TORCHELASTIC_USE_AGENT_STORE") == "True";
  launcher.run = value_of(variables, "TORCHELASTIC_RUN_ID") + "/" + value_of(variables, "TORCHELASTIC_RESTART_COUNT");
  return launcher;
}

std::chrono::seconds join_timeout(const Variables& variables) {
  constexpr const char* name = "YOPO_RANKS_TIMEOUT";
  if (variables(name) == nullptr) return std::chrono::seconds(300);
  return std::chrono::seconds(whole_number_of(variables, name, 1, kMostSeconds));
}

int threads_of_rank(const Variables& variables, int cores, int sharing) {
  // OMP_NUM_THREADS may hold one number a level of nesting; where it is none OpenMP says so itself.
  const std::string text = value_of(variables, "OMP_NUM_THREADS");
  int value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc() && value > 0)
    return std::min(value, kMostThreads);
  return std::max(1, cores / std::max(1, sharing));
}

}  // namespace yopo
