// Stored zip files are read, and every defect of the container is refused by name.
#include "formats/zip.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/formats/torch_bytes.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::little;
using testing::RawEntry;
using testing::zip_of;

ZipFile parse(const std::string& bytes) { return ZipFile::parse(testing::mapped(bytes)); }
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
/// One entry "a" of "hello" with a field changed.
ZipFile parse_one(RawEntry entry) {
  entry.name = "a";
  entry.data = "hello";
  return parse(zip_of({entry}));
}
/// The file with `width` bytes at `at` (from the end if negative) replaced.
std::string changed(std::string bytes, int64_t at, uint64_t value, int width) {
  return bytes.replace(size_t(at < 0 ? int64_t(bytes.size()) + at : at), size_t(width), little(value, width));
}

TEST(Zip, ReadsStoredEntries) {
  for (const bool wide : {false, true})
    for (const uint16_t flags : {0, 8, 0x808}) {
      const ZipFile zip =
          parse(zip_of({{"x/b", "hello", 0, flags}, {"x/a", "", 0, flags}, {"c", "12", 0, flags}}, wide));
      ASSERT_EQ(zip.entries().size(), 3u);
      EXPECT_EQ(text_of(zip.checked("x/b")), "hello");
      EXPECT_EQ(text_of(zip.checked("c")), "12");
      EXPECT_EQ(zip.at("x/a").size(), 0u);
      EXPECT_FALSE(zip.contains("a"));
      EXPECT_USER_ERROR(zip.at("a"), "x.bin: no zip entry 'a'");
    }
  EXPECT_TRUE(parse(zip_of({})).entries().empty());
  EXPECT_EQ(parse(zip_of({{"a", "hello"}}, false, "a comment")).entries().size(), 1u);
  EXPECT_EQ(parse(zip_of({{"a", "hello"}}, true, std::string(65535, 'x'))).entries().size(), 1u);
}

TEST(Zip, ReadsZip64Fields) {
  const ZipFile zip =
      parse(zip_of({{.name = "a", .data = "hello", .zip64 = true}, {.name = "b", .data = "!", .zip64 = true}}, true));
  EXPECT_EQ(text_of(zip.checked("a")), "hello");
  EXPECT_EQ(text_of(zip.checked("b")), "!");
}

TEST(Zip, Checksum) {
  const std::string digits = "123456789";
  EXPECT_EQ(crc32_of(std::as_bytes(std::span(digits.data(), digits.size()))), 0xcbf43926u)
      << "the check value of CRC-32";
  EXPECT_EQ(crc32_of({}), 0u);
  const ZipFile zip = parse_one({.crc_change = 1});
  EXPECT_EQ(text_of(zip.at("a")), "hello");
  EXPECT_USER_ERROR(zip.checked("a"), "zip entry 'a' is damaged");
}

TEST(ZipHostile, EndRecord) {
  const std::string good = zip_of({{"a", "hello"}});
  EXPECT_USER_ERROR(parse(""), "x.bin: not a zip file: 0 bytes");
  EXPECT_USER_ERROR(parse(std::string(100, 'x')), "no end of a zip directory");
  for (size_t size = 0; size < good.size(); ++size) EXPECT_USER_ERROR(parse(good.substr(0, size)), "x.bin: ");
  EXPECT_USER_ERROR(parse(good + "x"), "no end of a zip directory");
  EXPECT_USER_ERROR(parse(changed(good, -18, 1, 2)), "several volumes");
  EXPECT_USER_ERROR(parse(changed(good, -14, 2, 2)), "several volumes");
  EXPECT_USER_ERROR(parse(changed(good, -10, 5, 4)), "the zip directory should be the 5 bytes");
  EXPECT_USER_ERROR(parse(changed(good, -6, 0xffffffff, 4)), "found offset 4294967295");
  EXPECT_USER_ERROR(parse(changed(changed(good, -14, 65535, 2), -12, 65535, 2)), "65535 zip entries in a directory of");
  EXPECT_USER_ERROR(parse(changed(changed(good, -14, 0, 2), -12, 0, 2)), "belong to no entry");
}

TEST(ZipHostile, EndRecordOfZip64) {
  const std::string good = zip_of({{"a", "hello"}}, true);
  const int64_t locator = -42, end64 = -98;
  EXPECT_NO_THROW(parse(good));
  EXPECT_NO_THROW(parse(changed(changed(changed(good, -14, 0xffffffff, 4), -10, ~0u, 4), -6, ~0u, 4)));
  EXPECT_USER_ERROR(parse(changed(good, locator + 8, ~uint64_t(0), 8)),
                    "the zip64 end record is not at byte 18446744073709551615");
  EXPECT_USER_ERROR(parse(changed(good, locator + 8, 1, 8)), "is not at byte 1");
  EXPECT_USER_ERROR(parse(changed(good, locator + 16, 2, 4)), "several volumes");
  EXPECT_USER_ERROR(parse(changed(good, end64 + 4, 45, 8)), "wrong size");
  EXPECT_USER_ERROR(parse(changed(good, end64 + 32, 2, 8)), "several volumes");
  const std::string many = changed(changed(good, -14, ~0u, 4), end64 + 24, uint64_t(1) << 60, 8);
  EXPECT_USER_ERROR(parse(changed(many, end64 + 32, uint64_t(1) << 60, 8)), "1152921504606846976 zip entries");
  EXPECT_USER_ERROR(parse(changed(good, -6, 3, 4)), "contradict each other");
  EXPECT_USER_ERROR(parse(changed(changed(good, end64 + 48, ~uint64_t(0), 8), -6, ~0u, 4)), "found offset");
}

TEST(ZipHostile, Entries) {
  EXPECT_USER_ERROR(parse_one({.method = 8}), "zip entry 'a': compressed (method 8)");
  EXPECT_USER_ERROR(parse_one({.flags = 1}), "zip entry 'a': encrypted");
  EXPECT_USER_ERROR(parse_one({.flags = 1 << 13}), "encrypted");
  EXPECT_USER_ERROR(parse_one({.local_name = "b"}), "its own header names it 'b'");
  EXPECT_USER_ERROR(parse_one({.local_name = "aa"}), "its own header names it 'aa'");
  EXPECT_USER_ERROR(parse_one({.size_change = 1}), "6 bytes, the file ends before them");
  EXPECT_USER_ERROR(parse_one({.size_change = -1}), "5 bytes by its own header, 4 by the directory");
  EXPECT_USER_ERROR(parse_one({.size_change = 1 << 30}), "the file ends before them");
  EXPECT_USER_ERROR(parse_one({.local_size_change = 1}), "6 bytes by its own header, 5 by the directory");
  EXPECT_USER_ERROR(parse_one({.offset_change = 1}), "no entry begins at byte 1");
  EXPECT_USER_ERROR(parse_one({.offset_change = 1 << 30}), "no entry begins at byte 1073741824");
  EXPECT_USER_ERROR(parse(zip_of({{"", "x"}})), "not a name");
  EXPECT_USER_ERROR(parse(zip_of({{std::string("a\0b", 3), "x"}})), "not a name");
  EXPECT_USER_ERROR(parse(zip_of({{"a", "x"}, {"a", "y"}})), "two zip entries 'a'");
  EXPECT_NO_THROW(parse_one({.extra = "FB" + little(3, 2) + "ZZZ"}));
}

TEST(ZipHostile, Directory) {
  const std::string good = zip_of({{"a", "hello"}});
  const auto at = int64_t(good.find("PK\1\2"));
  EXPECT_USER_ERROR(parse(changed(good, at, 0, 4)), "zip entry 0 of 1 is not in the directory");
  EXPECT_USER_ERROR(parse(changed(good, at + 20, 4, 4)), "of two sizes, 5 and 4");
  EXPECT_USER_ERROR(parse(changed(good, at + 28, 60000, 2)), "runs past the end of the directory");
  EXPECT_USER_ERROR(parse(changed(good, at + 30, 1, 2)), "runs past the end of the directory");
  EXPECT_USER_ERROR(parse(changed(good, at + 34, 1, 2)), "in another volume");
  EXPECT_USER_ERROR(parse(changed(good, at + 42, uint64_t(at), 4)), "no entry begins at byte");
  // Sizes that stand in a zip64 field which is too short, or longer than the room for it.
  const std::string wide = zip_of({{.name = "a", .data = "hello", .zip64 = true}});
  const auto field = int64_t(wide.find("PK\1\2")) + 47;
  EXPECT_NO_THROW(parse(wide));
  EXPECT_USER_ERROR(parse(changed(wide, field + 2, 25, 2)), "its extra field is longer than declared");
  EXPECT_USER_ERROR(parse(changed(wide, field + 2, 20, 2)), "its zip64 field is too short");
  EXPECT_USER_ERROR(parse(changed(wide, field + 4, ~uint64_t(0), 8)), "of two sizes");
  EXPECT_USER_ERROR(parse(changed(changed(wide, field + 4, ~uint64_t(0), 8), field + 12, ~uint64_t(0), 8)),
                    "the file ends before");
}

TEST(ZipHostile, Overlaps) {
  // "b" says that it begins inside "a", where a header of its own name stands.
  const std::string inner = zip_of({{"b", "x"}});
  const std::string header = inner.substr(0, inner.find("PK\1\2"));
  const int64_t inside = -int64_t(31 + header.size()) + 0;
  const std::string file = zip_of({{"a", header}, {.name = "b", .data = "x", .offset_change = inside}});
  EXPECT_USER_ERROR(parse(file), "zip entries 'a' and 'b' overlap");
  EXPECT_USER_ERROR(parse(zip_of({{"a", "x"}, {.name = "b", .data = "x", .local_name = "a", .offset_change = -32}})),
                    "overlap");
}

TEST(ZipHostile, NamesDoNotReachTheTerminal) {
  try {
    parse(zip_of({{.name = "\x1b[31m", .data = "x", .method = 8}}));
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()).find('\x1b'), std::string::npos);
  }
}

}  // namespace
}  // namespace yopo
