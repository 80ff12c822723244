// Git LFS pointers: what lies in a clone in place of a large file whose content was not fetched.
#pragma once

#include "core/file.h"

namespace yopo {

/// Whether the open file of `size` bytes is one.
bool holds_lfs_pointer(int descriptor, uint64_t size);

/// The same of a path; false where it cannot be read.
bool is_lfs_pointer(const fs::path& path);

}  // namespace yopo
