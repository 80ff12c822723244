// Files of torch.save made byte by byte, good and bad.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/zip.h"

namespace yopo::testing {

/// `value` in `width` little-endian bytes.
inline std::string little(uint64_t value, int width) {
  std::string bytes;
  for (int i = 0; i < width; ++i) bytes += char(value >> (8 * i) & 0xff);
  return bytes;
}

inline uint64_t number(const std::string& bytes, size_t at, int width) {
  uint64_t value = 0;
  for (int i = 0; i < width; ++i) value |= uint64_t(uint8_t(bytes.at(at + size_t(i)))) << (8 * i);
  return value;
}

/// An entry as it is to be written; the fields that a test falsifies are apart from what they should be.
struct RawEntry {
  std::string name, data;
  uint16_t method = 0, flags = 0;
  std::string local_name = {};    // empty: name
  uint32_t crc_change = 0;        // xor
  int64_t size_change = 0;        // in the directory
  int64_t local_size_change = 0;  // in the local header
  int64_t offset_change = 0;
  std::string extra = {};  // of the local header
  bool zip64 = false;      // the directory's sizes and offset in a zip64 field
};

/// The file, its end records with it. `zip64` as torch.save writes them: both kinds of end record.
inline std::string zip_of(const std::vector<RawEntry>& entries, bool zip64 = false, const std::string& comment = "") {
  std::string file, directory;
  for (const RawEntry& entry : entries) {
    const auto bytes = std::as_bytes(std::span(entry.data.data(), entry.data.size()));
    const uint32_t crc = crc32_of(bytes) ^ entry.crc_change;
    const bool later = (entry.flags & 8) != 0;
    const uint64_t offset = file.size() + uint64_t(entry.offset_change),
                   size = entry.data.size() + uint64_t(entry.size_change);
    const uint64_t local_size = later ? 0 : entry.data.size() + uint64_t(entry.local_size_change);
    const std::string& local_name = entry.local_name.empty() ? entry.name : entry.local_name;
    file += "PK\3\4" + little(0, 2) + little(entry.flags, 2) + little(entry.method, 2) + little(0, 4) +
            little(later ? 0 : crc, 4) + little(local_size, 4) + little(local_size, 4) + little(local_name.size(), 2) +
            little(entry.extra.size(), 2) + local_name + entry.extra + entry.data;
    if (later) file += "PK\7\10" + little(crc, 4) + little(entry.data.size(), 4) + little(entry.data.size(), 4);
    const std::string wide =
        entry.zip64 ? little(1, 2) + little(24, 2) + little(size, 8) + little(size, 8) + little(offset, 8) : "";
    const auto narrow = [&](uint64_t value) { return little(entry.zip64 ? 0xffffffff : value, 4); };
    directory += "PK\1\2" + little(0, 4) + little(entry.flags, 2) + little(entry.method, 2) + little(0, 4) +
                 little(crc, 4) + narrow(size) + narrow(size) + little(entry.name.size(), 2) + little(wide.size(), 2) +
                 little(0, 2) + little(0, 2) + little(0, 2) + little(0, 4) + narrow(offset) + entry.name + wide;
  }
  const uint64_t start = file.size(), end = start + directory.size(), count = entries.size();
  file += directory;
  if (zip64)
    file += "PK\6\6" + little(44, 8) + little(0, 4) + little(0, 8) + little(count, 8) + little(count, 8) +
            little(directory.size(), 8) + little(start, 8) + "PK\6\7" + little(0, 4) + little(end, 8) + little(1, 4);
  return file + "PK\5\6" + little(0, 4) + little(count, 2) + little(count, 2) + little(directory.size(), 4) +
         little(start, 4) + little(comment.size(), 2) + comment;
}

/// Pieces of a pickle of protocol 2.
inline std::string text(const std::string& value) { return "X" + little(value.size(), 4) + value; }
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string integer(int64_t value) { return "\x8a\x08" + little(uint64_t(value), 8); }
inline std::string tuple(const std::vector<std::string>& items) {
  std::string bytes = "(";
  for (const std::string& item : items) bytes += item;
  return bytes + "t";
}
inline std::string numbers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  items.reserve(values.size());
  for (const int64_t value : values) items.push_back(integer(value));
  return tuple(items);
}
inline std::string storage(const std::string& type, const std::string& key, int64_t count) {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(count)}) + "Q";
}
inline std::string rebuilt(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                           const std::vector<int64_t>& strides, const std::string& behind = "") {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple({storage, integer(offset), numbers(shape), numbers(strides), "\x89",
                global("collections", "OrderedDict") + ")R", behind}) +
         "R";
}
/// {name: value, ...}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string bytes = "}(";
  for (const auto& [name, value] : items) bytes += text(name) + value;
  return bytes + "u";
}
inline std::string pickled(const std::string& root) { return "\x80\x02" + root + "."; }

/// The file of this pickle and these storages, with data at multiples of 64 bytes as torch.save has it.
inline std::string torch_file(const std::string& root, const std::vector<std::string>& storages,
                              const std::string& order = "little") {
  std::vector<RawEntry> entries{{"m/data.pkl", pickled(root)}, {"m/byteorder", order}};
  for (size_t i = 0; i < storages.size(); ++i) {
    entries.push_back({"m/data/" + std::to_string(i), storages[i]});
    entries.back().extra = "FB" + little(0, 2);
    // The last entry's data ends where the directory starts, of which the end record has the offset.
    const std::string so_far = zip_of(entries);
    const size_t start = number(so_far, so_far.size() - 6, 4) - storages[i].size(), missing = (64 - start % 64) % 64;
    entries.back().extra = "FB" + little(missing, 2) + std::string(missing, 'Z');
  }
  return zip_of(entries);
}

inline std::shared_ptr<const MappedFile> mapped(const std::string& bytes) {
  return MappedFile::copy_of(std::as_bytes(std::span(bytes.data(), bytes.size())), "x.bin");
}

}  // namespace yopo::testing
