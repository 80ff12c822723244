#include "formats/zip.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "core/error.h"

namespace yopo {

namespace {

// Layouts: PKWARE APPNOTE 6.3, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and 4.5.3. All numbers are little-endian.
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kLocator64 = 0x07064b50;
constexpr uint64_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20;
constexpr uint64_t kLongestComment = 0xffff;
constexpr uint64_t kMostEntries = 1'000'000;
constexpr uint32_t kAll32 = std::numeric_limits<uint32_t>::max();  // "see the zip64 field"
constexpr uint16_t kAll16 = std::numeric_limits<uint16_t>::max();
// Encrypted, patched, strongly encrypted, masked header: the bytes are not what was stored.
constexpr uint16_t kUnreadable = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 13;
constexpr uint16_t kSizesFollow = 1 << 3;  // the local header's sizes are zero, a descriptor behind the data has them

uint64_t number(std::span<const std::byte> bytes, uint64_t at, int width) {
  ensure(at <= bytes.size() && uint64_t(width) <= bytes.size() - at, "a zip field was checked before it is read");
  uint64_t value = 0;
  for (int i = 0; i < width; ++i) value |= uint64_t(bytes[at + uint64_t(i)]) << (8 * i);
  return value;
}
uint16_t number16(std::span<const std::byte> bytes, uint64_t at) { return uint16_t(number(bytes, at, 2)); }
uint32_t number32(std::span<const std::byte> bytes, uint64_t at) { return uint32_t(number(bytes, at, 4)); }
uint64_t number64(std::span<const std::byte> bytes, uint64_t at) { return number(bytes, at, 8); }

/// Where the directory is: `end` is where the end records begin.
struct Directory {
  uint64_t offset = 0, size = 0, count = 0, end = 0;
};

uint64_t find_end(std::span<const std::byte> bytes, const std::string& where) {
  require(bytes.size() >= kEndSize, "{}: not a zip file: {} bytes", where, bytes.size());
  const uint64_t last = bytes.size() - kEndSize;
  for (uint64_t comment = 0; comment <= std::min(last, kLongestComment); ++comment) {
    const uint64_t at = last - comment;
    if (number32(bytes, at) == kEnd && number16(bytes, at + 20) == comment) return at;
  }
  fail("{}: no end of a zip directory: not a zip file, or cut short", where);
}

Directory find_directory(std::span<const std::byte> bytes, const std::string& where) {
  Directory found;
  found.end = find_end(bytes, where);
  const uint64_t at = found.end;
  require(number16(bytes, at + 4) == 0 && number16(bytes, at + 6) == 0, "{}: a zip file of several volumes", where);
  found.count = number16(bytes, at + 10);
  require(number16(bytes, at + 8) == found.count, "{}: a zip file of several volumes", where);
  found.size = number32(bytes, at + 12);
  found.offset = number32(bytes, at + 16);
  if (at >= kLocatorSize && number32(bytes, at - kLocatorSize) == kLocator64) {
    const uint64_t locator = at - kLocatorSize, end64 = number64(bytes, locator + 8);
    require(number32(bytes, locator + 4) == 0 && number32(bytes, locator + 16) <= 1,
            "{}: a zip file of several volumes", where);
    require(locator >= kEnd64Size && end64 <= locator - kEnd64Size && number32(bytes, end64) == kEnd64,
            "{}: the zip64 end record is not at byte {}, where the file says", where, end64);
    require(number64(bytes, end64 + 4) == locator - end64 - 12, "{}: the zip64 end record has a wrong size", where);
    require(number32(bytes, end64 + 16) == 0 && number32(bytes, end64 + 20) == 0, "{}: a zip file of several volumes",
            where);
    const Directory wide{number64(bytes, end64 + 48), number64(bytes, end64 + 40), number64(bytes, end64 + 32), end64};
    require(number64(bytes, end64 + 24) == wide.count, "{}: a zip file of several volumes", where);
    require((found.count == kAll16 || found.count == wide.count) && (found.size == kAll32 || found.size == wide.size) &&
                (found.offset == kAll32 || found.offset == wide.offset),
            "{}: its two end records contradict each other", where);
    found = wide;
  }
  require(found.offset <= found.end && found.size == found.end - found.offset,
          "{}: the zip directory should be the {} bytes before byte {}, found offset {}", where, found.size, found.end,
          found.offset);
  require(found.count <= kMostEntries && found.count <= found.size / kCentralSize,
          "{}: {} zip entries in a directory of {} bytes", where, found.count, found.size);
  return found;
}

/// An entry as the directory has it.
struct Record {
  std::string name;
  uint64_t size = 0, stored = 0, offset = 0;  // offset: of the local header
  uint32_t crc = 0;
  uint16_t flags = 0;
};

/// Fields that do not fit 32 bits stand in the extra field 0x0001, in this order, each only if it does not fit.
void read_zip64(std::span<const std::byte> extra, Record& record, const std::string& what) {
  const bool needed = record.size == kAll32 || record.stored == kAll32 || record.offset == kAll32;
  for (uint64_t at = 0; needed && extra.size() - at >= 4;) {
    const uint64_t size = number16(extra, at + 2);
    require(size <= extra.size() - at - 4, "{}: its extra field is longer than declared", what);
    if (number16(extra, at) == 1) {
      const auto field = extra.subspan(at + 4, size);
      uint64_t next = 0;
      for (uint64_t* value : {&record.size, &record.stored, &record.offset}) {
        if (*value != kAll32) continue;
        require(field.size() - next >= 8, "{}: its zip64 field is too short", what);
        *value = number64(field, next);
        next += 8;
      }
      return;
    }
    at += 4 + size;
  }
}

std::vector<Record> read_directory(std::span<const std::byte> bytes, const Directory& directory,
                                   const std::string& where) {
  std::vector<Record> records;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.count; ++i) {
    require(directory.end - at >= kCentralSize && number32(bytes, at) == kCentral,
            "{}: zip entry {} of {} is not in the directory", where, i, directory.count);
    Record record;
    record.flags = number16(bytes, at + 8);
    const uint16_t method = number16(bytes, at + 10);
    record.crc = number32(bytes, at + 16);
    record.stored = number32(bytes, at + 20);
    record.size = number32(bytes, at + 24);
    const uint64_t name = number16(bytes, at + 28), extra = number16(bytes, at + 30),
                   comment = number16(bytes, at + 32);
    record.offset = number32(bytes, at + 42);
    require(name + extra + comment <= directory.end - at - kCentralSize,
            "{}: zip entry {} runs past the end of the directory", where, i);
    record.name = text_of(bytes.subspan(at + kCentralSize, name));
    const std::string what = fmt::format("{}: zip entry '{}'", where, printable(record.name));
    require(!record.name.empty() && record.name.find('\0') == std::string::npos, "{}: not a name", what);
    require((record.flags & kUnreadable) == 0, "{}: encrypted", what);
    require(method == 0, "{}: compressed (method {}); torch.save only stores", what, method);
    require(number16(bytes, at + 34) == 0, "{}: in another volume", what);
    read_zip64(bytes.subspan(at + kCentralSize + name, extra), record, what);
    require(record.size == record.stored, "{}: stored, yet of two sizes, {} and {}", what, record.size, record.stored);
    at += kCentralSize + name + extra + comment;
    records.push_back(std::move(record));
  }
  require(at == directory.end, "{}: {} bytes of the zip directory belong to no entry", where, directory.end - at);
  return records;
}

/// Where the entry's data begins, its local header checked against the directory; data and header end before `limit`.
uint64_t locate(std::span<const std::byte> bytes, const Record& record, uint64_t limit, const std::string& where) {
  const std::string what = fmt::format("{}: zip entry '{}'", where, printable(record.name));
  const uint64_t at = record.offset;
  require(limit >= kLocalSize && at <= limit - kLocalSize && number32(bytes, at) == kLocal,
          "{}: no entry begins at byte {}, where the directory says", what, at);
  require(number16(bytes, at + 6) == record.flags && number16(bytes, at + 8) == 0,
          "{}: its header and the directory differ in how it is stored", what);
  const uint64_t name = number16(bytes, at + 26), extra = number16(bytes, at + 28), rest = limit - at - kLocalSize;
  require(name + extra <= rest && record.size <= rest - name - extra,
          "{}: {} bytes, the file ends before them (cut short?)", what, record.size);
  require(text_of(bytes.subspan(at + kLocalSize, name)) == record.name, "{}: its own header names it '{}'", what,
          printable(text_of(bytes.subspan(at + kLocalSize, name))));
  Record local;
  local.stored = number32(bytes, at + 18);
  local.size = number32(bytes, at + 22);
  read_zip64(bytes.subspan(at + kLocalSize + name, extra), local, what);
  const bool later = (record.flags & kSizesFollow) != 0 && local.size == 0 && local.stored == 0;
  require(later || (local.size == record.size && local.stored == record.size),
          "{}: {} bytes by its own header, {} by the directory", what, local.size, record.size);
  return at + kLocalSize + name + extra;
}

}  // namespace

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ZipFile ZipFile::parse(std::shared_ptr<const MappedFile> mapped) {
  const std::string where = mapped->path().string();
  const auto bytes = mapped->bytes();
  const Directory directory = find_directory(bytes, where);
  std::vector<Record> records = read_directory(bytes, directory, where);
  std::stable_sort(records.begin(), records.end(),
                   [](const Record& a, const Record& b) { return a.offset < b.offset; });
  ZipFile zip;
  uint64_t reached = 0;
  const Record* before = nullptr;
  for (const Record& record : records) {
    require(record.offset >= reached, "{}: zip entries '{}' and '{}' overlap", where,
            printable(before ? before->name : ""), printable(record.name));
    const uint64_t data = locate(bytes, record, directory.offset, where);
    const ZipEntry entry{bytes.subspan(data, record.size), record.crc};
    require(zip.entries_.emplace(record.name, entry).second, "{}: two zip entries '{}'", where, printable(record.name));
    reached = data + record.size;
    before = &record;
  }
  zip.file_ = std::move(mapped);
  return zip;
}

std::span<const std::byte> ZipFile::at(const std::string& name) const {
  const auto found = entries_.find(name);
  require(found != entries_.end(), "{}: no zip entry '{}'", file_->path().string(), printable(name));
  return found->second.bytes;
}

std::span<const std::byte> ZipFile::checked(const std::string& name) const {
  const auto bytes = at(name);
  const uint32_t expected = entries_.at(name).crc, found = crc32_of(bytes);
  require(
      found == expected,
      "{}: zip entry '{}' is damaged: checksum {:08x}, expected {:08x} (or it was saved with set_crc32_options(False))",
      file_->path().string(), printable(name), found, expected);
  return bytes;
}

uint32_t crc32_of(std::span<const std::byte> bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0xedb88320u ^ value >> 1 : value >> 1;
      made[i] = value;
    }
    return made;
  }();
  uint32_t crc = ~0u;
  for (const std::byte byte : bytes) crc = table[(crc ^ uint32_t(byte)) & 0xff] ^ crc >> 8;
  return ~crc;
}

}  // namespace yopo
