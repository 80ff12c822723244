#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/held_file.h"
#include "core/leftovers.h"
#include "core/lfs.h"
#include "core/system_error.h"

namespace yopo {

namespace {

constexpr std::align_val_t kAlignment{64};
// O_DIRECT asks for the disk's own block size, in memory, size and place; none in use is larger than a page.
constexpr std::align_val_t kBlockAlignment{4096};
constexpr size_t kBlockBytes = size_t(4) << 20;

std::string reason(int code) { return std::strerror(code); }

[[noreturn]] void cannot(const char* what, const fs::path& path, int code) {
  const std::string message = fmt::format("cannot {} {}: {}", what, path.string(), reason(code));
  if (code == ENOENT || code == ENOTDIR) throw UserError(message);
  throw SystemError(message);
}

/// Closes a descriptor on every way out.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

/// Opens a regular file for reading and gives its size, and who it is. Never blocks on a pipe.
int open_regular(const fs::path& path, uint64_t& size, struct stat* identity = nullptr) {
  int descriptor;
  do {
    descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) cannot("open", path, errno);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    const int code = errno;
    ::close(descriptor);
    cannot("read", path, code);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail("cannot read {}: it is {}, expected a regular file", path.string(), kind_of(status.st_mode));
  }
  size = uint64_t(status.st_size);
  if (holds_lfs_pointer(descriptor, size)) {
    ::close(descriptor);
    fail(
        "cannot read {}: it is a Git LFS pointer, not the file itself; fetch the content with `git lfs pull` in the "
        "clone, or download the file again",
        path.string());
  }
  if (identity) *identity = status;
  return descriptor;
}

int sync(int descriptor) {
  int result;
  do {
    result = ::fsync(descriptor);
  } while (result != 0 && errno == EINTR);
  return result;
}

/// A rename is durable only once its folder is on disk too.
void sync_folder(const fs::path& folder) {
  const Descriptor descriptor{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  // Some network file systems refuse this; the data itself is safe by then.
  if (descriptor.value >= 0) (void)sync(descriptor.value);
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// Looking for leftovers lists the folder: once for a name that is written again and again.
void remove_leftovers_once(const fs::path& path) {
  static std::mutex mutex;
  static auto& done = *new std::set<fs::path>;  // never destroyed: files are written until the very end
  {
    const std::lock_guard lock(mutex);
    if (!done.insert(path).second) return;
  }
  remove_leftovers(path);
}

/// All of a regular file that is open.
std::string read_all(int descriptor, uint64_t size, uint64_t limit, const fs::path& path) {
  require(size <= limit, "{} has {} bytes; expected at most {}", path.string(), size, limit);
  std::string text(size, '\0');
  size_t got = 0;
  while (got < text.size()) {
    const ssize_t step = ::pread(descriptor, text.data() + got, text.size() - got, off_t(got));
    if (step < 0 && errno == EINTR) continue;
    if (step < 0) cannot("read", path, errno);
    if (step == 0) break;  // shortened meanwhile: what is there is the file
    got += size_t(step);
  }
  text.resize(got);
  return text;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path) {
  uint64_t size = 0;
  struct stat status {};
  const Descriptor descriptor{open_regular(path, size, &status)};
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->device_ = status.st_dev, file->inode_ = status.st_ino;
  if (size == 0) return file;
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.value, 0);
  if (memory == MAP_FAILED) cannot("map", path, errno);
  file->bytes_ = {static_cast<const std::byte*>(memory), size};
  return file;
}

std::shared_ptr<const MappedFile> MappedFile::copy_of(std::span<const std::byte> bytes, const fs::path& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  if (bytes.empty()) return file;
  auto* memory = static_cast<std::byte*>(::operator new(bytes.size(), kAlignment));
  std::memcpy(memory, bytes.data(), bytes.size());
  file->bytes_ = {memory, bytes.size()};
  file->owned_ = true;
  return file;
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  auto* memory = const_cast<std::byte*>(bytes_.data());
  if (owned_) {
    ::operator delete(memory, kAlignment);
  } else {
    ::munmap(memory, bytes_.size());
  }
}

void MappedFile::drop(size_t offset, size_t size) const { advise(offset, size, MADV_DONTNEED); }
void MappedFile::prefetch(size_t offset, size_t size) const { advise(offset, size, MADV_WILLNEED); }

void MappedFile::advise(size_t offset, size_t size, int advice) const {
  if (owned_ || offset >= bytes_.size() || size == 0) return;
  const size_t page = size_t(::sysconf(_SC_PAGESIZE));
  const size_t end = std::min(bytes_.size(), size > bytes_.size() - offset ? bytes_.size() : offset + size);
  const size_t begin = offset / page * page;
  // Only a hint: dropped pages come back from the file when they are read again.
  (void)::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, advice);
}

FileReader::FileReader(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
  if (file_->owned_ || file_->bytes_.empty()) return;
  uint64_t size = 0;
  struct stat status {};
  descriptor_ = open_regular(file_->path_, size, &status);
  if (status.st_dev == file_->device_ && status.st_ino == file_->inode_ && size >= file_->bytes_.size()) return;
  ::close(descriptor_);
  fail("{}: has changed while it was read", file_->path_.string());
}

FileReader::~FileReader() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileReader::read(size_t offset, size_t size, void* to) const {
  ensure(offset <= file_->bytes_.size() && size <= file_->bytes_.size() - offset, "a read within the file");
  if (descriptor_ < 0) {
    if (size > 0) std::memcpy(to, file_->bytes_.data() + offset, size);
    return;
  }
  auto* target = static_cast<std::byte*>(to);
  while (size > 0) {
    const ssize_t step = ::pread(descriptor_, target, size, off_t(offset));
    if (step < 0 && errno == EINTR) continue;
    if (step < 0) cannot("read", file_->path_, errno);
    require(step > 0, "{}: ends at byte {}; it has changed while it was read", file_->path_.string(), offset);
    target += step, offset += size_t(step), size -= size_t(step);
  }
}

std::string read_text(const fs::path& path, uint64_t limit) {
  uint64_t size = 0;
  const Descriptor descriptor{open_regular(path, size)};
  return read_all(descriptor.value, size, limit, path);
}

std::string read_text(int descriptor, const fs::path& path, uint64_t limit) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) cannot("read", path, errno);
  return read_all(descriptor, uint64_t(status.st_size), limit, path);
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  static std::atomic<uint64_t> counter{0};
  require(!path.empty() && path.has_filename(), "cannot write '{}': it names no file", path.string());
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0)
    require(S_ISREG(status.st_mode) || S_ISLNK(status.st_mode), "cannot write {}: it is {}, expected a regular file",
            path.string(), kind_of(status.st_mode));
  std::error_code code;
  fs::create_directories(parent_of(path), code);
  if (code) fail("cannot make folder {}: {}", parent_of(path).string(), code.message());
  remove_leftovers_once(path);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    temporary_ = path;
    temporary_ += fmt::format(".tmp-{}-{}", ::getpid(), counter++);
    descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST && errno != EINTR) fail("cannot write {}: {}", path.string(), reason(errno));
    if (descriptor_ < 0) continue;
    if (hold(descriptor_, temporary_)) return;
    ::unlink(temporary_.c_str());  // ours, whatever could not be learnt of it; who holds it is about to remove it, too
    ::close(descriptor_);
  }
  fail("cannot write {}: {} temporaries beside it, such as {}, were there already or taken away", path.string(),
       kMostAttempts, temporary_.filename().string());
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::fail_write(int code, uint64_t needed) const {
  if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
    struct statvfs space {};
    std::string free;
    if (::statvfs(parent_of(path_).c_str(), &space) == 0)
      free = fmt::format(", {} free on its disk", uint64_t(space.f_bavail) * space.f_frsize);
    fail("cannot write {}: {}; {} more bytes needed after {} written{}", path_.string(), reason(code), needed, written_,
         free);
  }
  fail("cannot write {}: {}", path_.string(), reason(code));
}

void AtomicFile::write(const void* data, size_t size) {
  ensure(!released_ && !committed_, "write to an atomic file that is released or committed");
  const auto* from = static_cast<const std::byte*>(data);
  if (!block_) return put(from, size);
  while (size > 0) {
    const size_t step = std::min(size, kBlockBytes - held_);
    std::memcpy(block_.get() + held_, from, step);
    from += step, size -= step;
    held_ += step, written_ += step;
    if (held_ < kBlockBytes) return;
    written_ -= std::exchange(held_, 0);
    put(block_.get(), kBlockBytes);
  }
}

void AtomicFile::put(const std::byte* data, size_t size) {
  while (size > 0) {
    const ssize_t step = ::write(descriptor_, data, size);
    if (step < 0 && errno == EINTR) continue;
    if (step < 0 && errno == EINVAL && direct_) {  // a file system with rules of its own
      end_bypass();
      continue;
    }
    if (step < 0) fail_write(errno, size);
    data += step, size -= size_t(step);
    written_ += uint64_t(step);
    if (size > 0 && direct_) end_bypass();  // the rest may begin within a block
  }
}

void AtomicFile::Aligned::operator()(std::byte* memory) const { ::operator delete(memory, kBlockAlignment); }

void AtomicFile::bypass_cache() {
  ensure(!released_ && written_ == 0, "the page cache is passed by from the first byte on");
  const int flags = ::fcntl(descriptor_, F_GETFL);
  if (flags < 0 || ::fcntl(descriptor_, F_SETFL, flags | O_DIRECT) != 0) return;
  direct_ = true;
  block_.reset(static_cast<std::byte*>(::operator new(kBlockBytes, kBlockAlignment)));
}

void AtomicFile::end_bypass() {
  const int flags = ::fcntl(descriptor_, F_GETFL);
  if (flags < 0 || ::fcntl(descriptor_, F_SETFL, flags & ~O_DIRECT) != 0) fail_write(errno, 0);
  direct_ = false;
}

void AtomicFile::reserve(uint64_t size) {
  ensure(!released_ && !committed_, "reserve on an atomic file that is released or committed");
  if (size <= written_) return;
  const uint64_t more = size - written_;
  require(size <= uint64_t(INT64_MAX), "cannot write {}: {} bytes are more than a file can hold", path_.string(), size);
  int result;
  do {
    result = ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, off_t(written_), off_t(more));
  } while (result != 0 && errno == EINTR);
  // Any other failure means that the file system cannot tell; the writes will.
  if (result != 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) fail_write(errno, more);
}

void AtomicFile::release() {
  ensure(held_ == 0, "an atomic file released with bytes that wait for a whole block");
  released_ = true;
}

void AtomicFile::commit() {
  ensure(!committed_, "atomic file committed twice");
  if (released_) {
    // The other writer may have put a new file in the place of ours, which is held until the name is final.
    const Descriptor theirs{::open(temporary_.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
    if (theirs.value < 0 || sync(theirs.value) != 0) fail_write(errno, 0);
  }
  if (direct_) end_bypass();
  written_ -= held_;
  put(block_.get(), std::exchange(held_, 0));
  if (sync(descriptor_) != 0) fail_write(errno, 0);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_write(errno, 0);
  committed_ = true;
  ::close(std::exchange(descriptor_, -1));  // only now: it is held until then
  sync_folder(parent_of(path_));
}

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

fs::path inside(const fs::path& folder, std::string_view name, std::string_view where) {
  require(!name.empty(), "{}: the file name is empty", where);
  require(name.find('\0') == std::string_view::npos, "{}: the file name '{}' holds a zero byte", where,
          printable(name));
  const fs::path relative = fs::path(name).lexically_normal();
  require(!relative.is_absolute(), "{}: '{}' is an absolute path; expected a name inside {}", where, printable(name),
          folder.string());
  require(*relative.begin() != "..", "{}: '{}' leaves its folder {}", where, printable(name), folder.string());
  require(relative != ".", "{}: '{}' names no file", where, printable(name));
  return folder / relative;
}

}  // namespace yopo
