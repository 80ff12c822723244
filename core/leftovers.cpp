#include "core/leftovers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/progress.h"

namespace yopo {

namespace fs = std::filesystem;

namespace {

/// The number that `text` begins with, which is taken off it.
std::optional<pid_t> take_number(std::string_view& text) {
  pid_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  text.remove_prefix(size_t(end - text.data()));
  return number;
}

struct Leftover {
  fs::path path;
  pid_t maker;
  bool folder;
};

/// `name` as the temporary of `of`, if it is one.
std::optional<Leftover> leftover_of(const fs::path& entry, const std::string& of) {
  const std::string name = entry.filename().string();
  for (const bool folder : {false, true}) {
    const std::string prefix = of + (folder ? ".partial-" : ".tmp-");
    if (!name.starts_with(prefix)) continue;
    std::string_view rest = std::string_view(name).substr(prefix.size());
    const std::optional<pid_t> maker = take_number(rest);
    if (!maker || *maker == 0) continue;
    if (!folder) {
      if (!rest.starts_with('-')) continue;
      rest.remove_prefix(1);
      if (!take_number(rest)) continue;
    }
    if (rest.empty()) return Leftover{entry, *maker, folder};
  }
  return std::nullopt;
}

bool same_at(const fs::path& path, const struct stat& held) {
  struct stat there {};
  return ::lstat(path.c_str(), &there) == 0 && there.st_dev == held.st_dev && there.st_ino == held.st_ino;
}

uint64_t bytes_of(const Leftover& leftover) {
  std::error_code error;
  if (!leftover.folder) {
    const uint64_t size = fs::file_size(leftover.path, error);
    return error ? 0 : size;
  }
  uint64_t all = 0;
  for (fs::recursive_directory_iterator entry(leftover.path, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    if (entry->is_regular_file(unreadable) && !entry->is_symlink(unreadable)) {
      const uint64_t size = entry->file_size(unreadable);
      all += unreadable ? 0 : size;
    }
  }
  return all;
}

void remove_if_dead(const Leftover& leftover) {
  const int kind = leftover.folder ? O_RDONLY | O_DIRECTORY : O_RDWR;  // NFS locks only what is open for writing
  const int descriptor = ::open(leftover.path.c_str(), kind | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return;
  struct stat status {};
  bool dead = ::fstat(descriptor, &status) == 0 && status.st_uid == ::geteuid() &&
              (leftover.folder ? S_ISDIR(status.st_mode) : S_ISREG(status.st_mode));
  if (dead && ::flock(descriptor, LOCK_EX | LOCK_NB) != 0)
    dead = errno != EWOULDBLOCK && ::kill(leftover.maker, 0) != 0 && errno == ESRCH;
  if (dead && same_at(leftover.path, status)) {
    const double megabytes = double(bytes_of(leftover)) / 1e6;
    std::error_code error;
    fs::remove_all(leftover.path, error);
    if (error)
      warn(fmt::format("cannot remove {}, left by a run that was killed: {}", leftover.path.string(), error.message()));
    else
      note(fmt::format("{}: left by a run that was killed; removed ({:.1f} MB)", leftover.path.string(), megabytes));
  }
  ::close(descriptor);
}

}  // namespace

bool hold(int descriptor, const fs::path& path) {
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 && same_at(path, status);
}

void remove_leftovers(const fs::path& path) {
  const std::string name = path.filename().string();
  std::vector<Leftover> found;
  std::error_code error;
  // A folder that cannot be listed has nothing to tell.
  for (fs::directory_iterator entry(path.has_parent_path() ? path.parent_path() : fs::path("."), error), end;
       !error && entry != end; entry.increment(error))
    if (std::optional<Leftover> one = leftover_of(entry->path(), name)) found.push_back(*std::move(one));
  for (const Leftover& leftover : found) remove_if_dead(leftover);
}

}  // namespace yopo
