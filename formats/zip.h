// Zip files of stored entries: the container that torch.save writes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/file.h"

namespace yopo {

/// One stored entry: its bytes where they lie in the mapping.
struct ZipEntry {
  std::span<const std::byte> bytes;
  uint32_t crc = 0;  // of the bytes, as the directory says; compared only by ZipFile::checked
};

/// Bytes as text: the same memory.
std::string_view text_of(std::span<const std::byte> bytes);

/// A zip file whose entries are all stored (not compressed), zip64 included. Checked before anything is trusted: the
/// end record (the file ends with it), the directory (between the last entry and the end record, as many entries as
/// declared), every name (unique, the same in its local header), offset, size and overlap. Compressed, encrypted and
/// multi-volume files are refused. Nothing is written anywhere, so names are names only. Const
/// members may be called from several threads at once.
class ZipFile {
 public:
  /// UserError naming the file and the entry for every defect.
  static ZipFile parse(std::shared_ptr<const MappedFile> file);
  const std::map<std::string, ZipEntry>& entries() const { return entries_; }
  bool contains(const std::string& name) const { return entries_.contains(name); }
  /// The entry's bytes; UserError if absent.
  std::span<const std::byte> at(const std::string& name) const;
  /// The same, and UserError unless they have the checksum that the directory says: for small entries.
  std::span<const std::byte> checked(const std::string& name) const;
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, ZipEntry> entries_;
};

/// CRC-32 as zip has it (polynomial 0x04c11db7, reflected).
uint32_t crc32_of(std::span<const std::byte> bytes);

}  // namespace yopo
