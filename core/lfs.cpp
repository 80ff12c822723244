#include "core/lfs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

namespace yopo {

bool holds_lfs_pointer(int descriptor, uint64_t size) {
  constexpr std::string_view kFirstLine = "version https://git-lfs.github.com/spec/v1";
  constexpr uint64_t kLargest = 1024;  // the specification says: less
  if (size < kFirstLine.size() || size > kLargest) return false;
  char head[kFirstLine.size()];
  return ::pread(descriptor, head, sizeof head, 0) == ssize_t(sizeof head) &&
         std::string_view(head, sizeof head) == kFirstLine;
}

bool is_lfs_pointer(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return false;
  struct stat status {};
  const bool found = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
                     holds_lfs_pointer(descriptor, uint64_t(status.st_size));
  ::close(descriptor);
  return found;
}

}  // namespace yopo
