#include "exporters/staging.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/leftovers.h"

namespace yopo {
namespace {

// Names in a folder are durable only once the folder itself is on disk; some network file systems refuse this.
void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  (void)::fsync(descriptor);
  ::close(descriptor);
}

// Without a trailing separator, so that the name beside it can be formed.
fs::path clean(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

}  // namespace

StagingFolder::StagingFolder(const fs::path& output) : output_(clean(output)), path_(output_) {
  require(output_.has_filename() && output_ != "." && output_ != "..", "cannot write '{}': it names no new folder",
          output.string());
  path_ += fmt::format(".partial-{}", ::getpid());
  std::error_code code;
  fs::create_directories(parent_of(output_), code);
  if (code) fail("cannot make folder {}: {}", parent_of(output_).string(), code.message());
  remove_leftovers(output_);
  const bool made = fs::create_directory(path_, code);
  if (code) fail("cannot make folder {}: {}", path_.string(), code.message());
  require(made, "cannot make folder {}: it is there already", path_.string());
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  const int reason = errno;
  if (descriptor_ >= 0 && hold(descriptor_, path_)) return;
  discard();
  require(descriptor_ >= 0, "cannot open folder {}: {}", path_.string(), std::strerror(reason));
  fail("cannot make folder {}: another process has taken it away", path_.string());
}

StagingFolder::~StagingFolder() {
  if (!published_) discard();
}

void StagingFolder::discard() {
  std::error_code code;
  fs::remove_all(path_, code);
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  // Looking into a folder takes a descriptor, and this one may have been the last that the process could have.
  if (code) fs::remove_all(path_, code);
}

void StagingFolder::publish() {
  std::error_code code;
  for (const auto& entry : fs::recursive_directory_iterator(path_, code))
    if (entry.is_directory()) sync_folder(entry.path());
  sync_folder(path_);
  fs::rename(path_, output_, code);  // replaces an empty folder, and nothing else
  if (code) fail("cannot rename {} to {}: {}", path_.string(), output_.string(), code.message());
  published_ = true;
  ::close(descriptor_);
  sync_folder(parent_of(output_));
}

void copy_bytes(const fs::path& from, const fs::path& to) {
  constexpr size_t piece_bytes = size_t(1) << 20;
  const auto source = MappedFile::open(from);
  const FileReader reader(source);
  const size_t total = source->bytes().size();
  AtomicFile target(to);
  target.reserve(total);
  std::vector<std::byte> piece(std::min(piece_bytes, total));
  for (size_t at = 0; at < total; at += piece.size()) {
    const size_t size = std::min(piece.size(), total - at);
    reader.read(at, size, piece.data());
    target.write(piece.data(), size);
  }
  target.commit();
}

}  // namespace yopo
