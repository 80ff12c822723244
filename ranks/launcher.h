// What torchrun, mpirun or srun tells a process through its environment: which of how many it is, and where they meet.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace yopo {

/// Looks up a variable of the environment; nullptr where it is not set.
using Variables = std::function<const char*(const char* name)>;

struct Launcher {
  std::string name;  // "torchrun", "mpirun" or "srun"; empty: this process is the only one
  int rank = 0, size = 1;
  std::string address;  // rank 0's machine
  int port = 0;
  bool holds_store = false;  // the launcher itself answers at that port, else rank 0 does
  std::string run;           // tells this start from another one at the same port
  bool shared() const { return size > 1; }
};

/// RANK and WORLD_SIZE, those of Open MPI and PMI, or those of a Slurm job step (a batch script outside of srun is one
/// process); MASTER_ADDR and MASTER_PORT with each. UserError for half of them, for numbers that are none or do not fit
/// each other, and for no place to meet, with what to export.
Launcher read_launcher(const Variables& variables);

/// How long the ranks wait for each other at the start: YOPO_RANKS_TIMEOUT in seconds, else 300. UserError if it is no
/// such number.
std::chrono::seconds join_timeout(const Variables& variables);

/// CPU threads of one of `sharing` ranks that may use the same `cores`: OMP_NUM_THREADS where it is set (torchrun
/// does), else an equal share.
int threads_of_rank(const Variables& variables, int cores, int sharing);

}  // namespace yopo
