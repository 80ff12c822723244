#include "core/held_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/leftovers.h"

namespace yopo {

std::string kind_of(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISLNK(mode)) return "a symbolic link";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "something else";
}

int open_held(const fs::path& path, const std::string& busy) {
  const auto check = [&](const struct stat& status) {
    require(S_ISREG(status.st_mode), "cannot write {}: it is {}, expected a regular file", path.string(),
            kind_of(status.st_mode));
    // What is appended here would stand in the other file, too: in a copy by `cp -al`, or outside of the folder.
    require(status.st_nlink <= 1,
            "cannot write {}: the same file has {} names (hard links), expected this one alone; replace it by a copy",
            path.string(), status.st_nlink);
  };
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    // Looked at before it is opened, for that alone can do something to a device; and after, for it may be another.
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0) check(status);
    const int descriptor =
        ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == EINTR) continue;
    if (descriptor < 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
    try {
      if (::fstat(descriptor, &status) != 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
      check(status);
      if (hold(descriptor, path)) return descriptor;
      // Held by another, or replaced by one that held it until now: then the one that stands there is asked.
      struct stat there {};
      const bool stands =
          ::lstat(path.c_str(), &there) == 0 && there.st_dev == status.st_dev && there.st_ino == status.st_ino;
      require(!stands, "{}: {}", path.string(), busy);
    } catch (...) {
      ::close(descriptor);
      throw;
    }
    ::close(descriptor);
  }
  fail("cannot write {}: it is replaced again and again", path.string());
}

}  // namespace yopo
