#include "core/remarks.h"

#include <atomic>
#include <mutex>
#include <set>

#include "core/error.h"
#include "core/progress.h"

namespace yopo {

namespace {
std::atomic<bool> g_strict = false;
}

void set_strict(bool strict) { g_strict = strict; }

void remark(const std::string& line) {
  if (g_strict) fail("{} (an error because of --strict)", line);
  static std::mutex mutex;
  static std::set<std::string> said;
  {
    const std::lock_guard lock(mutex);
    if (!said.insert(line).second) return;
  }
  warn(line);
}

}  // namespace yopo
