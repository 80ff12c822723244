#include "core/remarks.h"

#include <atomic>

#include "core/error.h"
#include "core/progress.h"

namespace yopo {

namespace {
std::atomic<bool> g_strict = false;
}

void set_strict(bool strict) { g_strict = strict; }

void remark(const std::string& line) {
  if (g_strict) fail("{} (an error because of --strict)", line);
  warn_once(line);
}

}  // namespace yopo
