#include "core/memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace yopo {

int64_t physical_memory() {
  int64_t bytes = int64_t(::sysconf(_SC_PHYS_PAGES)) * int64_t(::sysconf(_SC_PAGESIZE));
  for (const char* file : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;
    if (std::ifstream(file) >> limit && limit > 0) bytes = std::min(bytes, limit);  // "max" is no number
  }
  return bytes;
}

int64_t memory_limit(int64_t asked, int64_t needed) {
  if (asked > 0) return asked;
  const int64_t room = physical_memory() / 5 * 4;
  return needed <= room ? 0 : room;
}

}  // namespace yopo
