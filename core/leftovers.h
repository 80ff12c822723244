// What a killed process leaves beside its output: NAME.tmp-PROCESS-NUMBER, a file that was being written (AtomicFile),
// and NAME.partial-PROCESS, a folder that was being filled (StagingFolder).
#pragma once

#include <filesystem>

namespace yopo {

/// Holds what was just made at `path` for as long as `descriptor` is open, so that others see that its maker lives: a
/// process number alone may belong to somebody else by now. False when it is not ours to use: another process has
/// found it before it was held. True where the file system knows no locks.
bool hold(int descriptor, const std::filesystem::path& path);

/// Removes what of these kinds lies beside `path` under its name, is this user's and held by nobody, with one note
/// each. Where the file system knows no locks the process number decides.
void remove_leftovers(const std::filesystem::path& path);

}  // namespace yopo
