#include "core/writable.h"

namespace yopo {

void check_writable(const fs::path& path) { const AtomicFile unused(path); }

}  // namespace yopo
