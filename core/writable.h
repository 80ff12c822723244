// Whether a result will find its place, asked before the work that makes it.
#pragma once

#include "core/file.h"

namespace yopo {

/// UserError unless the file can be written, as AtomicFile says. Missing parent folders are made.
void check_writable(const fs::path& path);

}  // namespace yopo
