// Files that are opened by name and written in place: never through a link, never anything but a regular file.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/file.h"

namespace yopo {

/// At a name, for a file that nobody else has.
inline constexpr int kMostAttempts = 1000;

/// What stands under a name when it is no regular file: "a folder", "a named pipe", "a device", ...
std::string kind_of(mode_t mode);

/// Opens `path` for reading and appending, makes it if need be, and holds it by a lock until the descriptor is closed.
/// UserError when it is anything but a regular file of one name (a symbolic or hard link included), and, with `busy` as
/// the message behind the name, when another process holds it. Never waits.
int open_held(const fs::path& path, const std::string& busy);

}  // namespace yopo
