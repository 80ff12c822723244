// Files: mapped for reading, replaced atomically when written, and never outside their folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"

namespace yopo {

namespace fs = std::filesystem;

/// A read-only mapping of a whole file. Shared so that views into it may outlive the reader. For any threads at once.
class MappedFile {
 public:
  /// UserError for a file that is absent, not regular, unreadable or a Git LFS pointer. An empty file: an empty span.
  static std::shared_ptr<const MappedFile> open(const fs::path& path);
  /// A copy of `bytes` in memory, aligned for every element type; `path` is kept for messages only.
  static std::shared_ptr<const MappedFile> copy_of(std::span<const std::byte> bytes, const fs::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const fs::path& path() const { return path_; }
  /// Tells the kernel that this range will not be read again soon (streaming over files larger than memory).
  void drop(size_t offset, size_t size) const;
  /// Tells the kernel that this range will be read soon.
  void prefetch(size_t offset, size_t size) const;

 private:
  friend class FileReader;
  MappedFile() = default;
  void advise(size_t offset, size_t size, int advice) const;
  fs::path path_;
  std::span<const std::byte> bytes_;
  bool owned_ = false;  // memory of our own instead of a mapping
  uint64_t device_ = 0, inode_ = 0;
};

/// Reads a mapped file's bytes into memory by system calls. For files larger than memory that are read once: it costs
/// less than a page fault for every page, and a disk that fails is a message instead of a signal. For any threads at
/// once.
class FileReader {
 public:
  /// UserError when another file lies at the path by now. A copy in memory is read from there.
  explicit FileReader(std::shared_ptr<const MappedFile> file);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;
  /// Bytes [offset, offset + size) of the file into `to`. UserError naming the file when they cannot be read.
  void read(size_t offset, size_t size, void* to) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  int descriptor_ = -1;  // none: from memory
};

/// Whole file as text; UserError when absent or unreadable, or larger than `limit` bytes.
std::string read_text(const fs::path& path, uint64_t limit = uint64_t(1) << 30);
/// The same of a file that is open already; `path` is for messages.
std::string read_text(int descriptor, const fs::path& path, uint64_t limit = uint64_t(1) << 30);

/// A file that appears under its name only when committed: written to a temporary beside it, fsynced, renamed.
/// Destroyed uncommitted, it leaves nothing. Missing parent folders are made. Every failure (full disk included) is a
/// UserError naming the file. A symbolic link at `path` is replaced, never followed; a folder or device is refused.
/// What killed processes left of their temporaries for this name is removed first (core/leftovers.h). For one thread.
class AtomicFile {
 public:
  explicit AtomicFile(const fs::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Before the first byte: what is written goes to the disk in large blocks past the page cache, where the file system
  /// can do so. For large files that nobody reads back at once.
  void bypass_cache();
  /// Claims disk space for `size` bytes in all, so that a full disk is known before hours of work; UserError naming the
  /// bytes needed. Does nothing where the file system cannot tell.
  void reserve(uint64_t size);
  /// Bytes written so far.
  uint64_t size() const { return written_; }
  /// The temporary's path, for writers (HDF5) that open the file themselves.
  const fs::path& temporary() const { return temporary_; }
  /// The temporary is another writer's from now on, until commit().
  void release();
  void commit();

 private:
  [[noreturn]] void fail_write(int code, uint64_t needed) const;
  void put(const std::byte* data, size_t size);
  void end_bypass();
  fs::path path_, temporary_;
  int descriptor_ = -1;
  uint64_t written_ = 0;  // taken, of which `block_` holds the last `held_`
  struct Aligned {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte[], Aligned> block_;  // past the page cache: what waits for a whole block
  size_t held_ = 0;
  bool direct_ = false;  // the descriptor takes whole blocks only
  bool released_ = false, committed_ = false;
};

/// Writes a whole file atomically.
void write_text(const fs::path& path, std::string_view text);

/// `folder / name` where `name` comes from outside: UserError naming `where` if it is empty, absolute, holds a zero
/// byte, or leaves the folder through "..". The result has no ".." left.
fs::path inside(const fs::path& folder, std::string_view name, std::string_view where);

/// 128-bit XXH3 of the bytes as 32 hex digits, chained over calls. For one thread.
class Fingerprint {
 public:
  Fingerprint();
  ~Fingerprint();
  Fingerprint(const Fingerprint&) = delete;
  Fingerprint& operator=(const Fingerprint&) = delete;
  Fingerprint& add(std::span<const std::byte> bytes);
  /// Adds the text's length and then the text, so that ("ab", "c") and ("a", "bc") differ.
  Fingerprint& add(std::string_view text);
  /// Adds the file's size and then its bytes.
  Fingerprint& add_file(const fs::path& path);
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace yopo
