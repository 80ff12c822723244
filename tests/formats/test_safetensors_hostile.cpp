// Every defect a header can have is refused by name, before any of its numbers is used.
#include <gtest/gtest.h>

#include "core/error.h"
#include "formats/safetensors.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

SafetensorsFile parse(const std::string& bytes) {
  return SafetensorsFile::parse(
      MappedFile::copy_of(std::as_bytes(std::span(bytes.data(), bytes.size())), "x.safetensors"));
}

/// A file of this header and `data` zero bytes.
std::string file_of(const std::string& header, size_t data) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[size_t(i)] = char(uint64_t(header.size()) >> (8 * i));
  return bytes + header + std::string(data, '\0');
}
std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}
std::string one(const std::string& entry) { return R"({"w":)" + entry + "}"; }

TEST(SafetensorsHostile, TheSmallestGoodFiles) {
  EXPECT_TRUE(parse(file_of("{}", 0)).tensors().empty());
  EXPECT_EQ(parse(file_of(one(tensor("U8", "[3]", "[0,3]")), 3)).at("w").count(), 3);
  EXPECT_EQ(parse(file_of(one(tensor("U8", "[3]", "[0,3]")) + "     ", 3)).at("w").count(), 3) << "padding";
}

TEST(SafetensorsHostile, HeaderLength) {
  EXPECT_USER_ERROR(parse(""), "x.safetensors: not a safetensors file: 0 bytes");
  EXPECT_USER_ERROR(parse("1234567"), "7 bytes, expected at least 8");
  EXPECT_USER_ERROR(parse(std::string(8, '\xff')), "18446744073709551615 bytes, expected at most");
  EXPECT_USER_ERROR(parse(std::string("\x05\0\0\0\0\0\0\0{}", 10)),
                    "cut short: the header needs 5 bytes, the file has 2");
  EXPECT_USER_ERROR(parse(file_of("", 0)), "start with '{'");
  EXPECT_USER_ERROR(parse(file_of(" {}", 0)), "start with '{'");
  EXPECT_USER_ERROR(parse(file_of("[]", 0)), "start with '{'");
}

TEST(SafetensorsHostile, HeaderJson) {
  EXPECT_USER_ERROR(parse(file_of("{\"a\"", 0)), "x.safetensors: header:1:5");
  EXPECT_USER_ERROR(parse(file_of("{}{}", 0)), "not valid JSON");
  const std::string entry = tensor("U8", "[0]", "[0,0]");
  EXPECT_USER_ERROR(parse(file_of(R"({"w":)" + entry + R"(,"w":)" + entry + "}", 0)), "duplicate key 'w'");
  EXPECT_USER_ERROR(parse(file_of("{\"w\":" + std::string(200, '['), 0)), "nested more than");
  EXPECT_USER_ERROR(parse(file_of(R"({"__metadata__":{"a":1}})", 0)), "__metadata__ 'a' should be a string");
  EXPECT_USER_ERROR(parse(file_of(R"({"__metadata__":[]})", 0)), "__metadata__ should be an object");
}

TEST(SafetensorsHostile, Entries) {
  EXPECT_USER_ERROR(parse(file_of(R"({"w":3})", 0)), "x.safetensors: tensor 'w': expected an object");
  EXPECT_USER_ERROR(parse(file_of(one(R"({"dtype":"U8","shape":[1]})"), 1)), "'data_offsets' is missing");
  EXPECT_USER_ERROR(parse(file_of(one(R"({"dtype":"U8","data_offsets":[0,1]})"), 1)), "'shape' is missing");
  EXPECT_USER_ERROR(parse(file_of(one(R"({"shape":[1],"data_offsets":[0,1]})"), 1)), "'dtype' is missing");
  EXPECT_USER_ERROR(parse(file_of(one(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"scale":2})"), 1)),
                    "unknown field 'scale'");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("F8_E4M3", "[1]", "[0,1]")), 1)),
                    "tensor 'w': dtype 'F8_E4M3' is not supported");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[-1]", "[0,1]")), 1)), "found -1");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[1.0]", "[0,1]")), 1)), "found 1.0");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "3", "[0,1]")), 1)), "'shape' should be an array");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[18446744073709551615]", "[0,1]")), 1)), "18446744073709551615");
}

TEST(SafetensorsHostile, Offsets) {
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[1]", "[0]")), 1)), "two integers, found 1");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[1]", "[0,-1]")), 1)), "from 0 on");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[1]", "[1,0]")), 1)), "run backwards");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("F32", "[2]", "[0,4]")), 4)),
                    "shape [2] of F32 needs 8 bytes, data_offsets [0, 4] hold 4");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[4]", "[0,4]")), 3)), "ends at byte 4 of the data, the file has 3");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[4]", "[0,4]")), 5)), "1 bytes follow the last tensor");
  EXPECT_USER_ERROR(parse(file_of("{}", 1)), "1 bytes follow");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[4]", "[2,6]")), 6)),
                    "starts at byte 2 of the data, expected 0 (a hole");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[0]", "[18446744073709551615,18446744073709551615]")), 0)),
                    "a hole");
}

TEST(SafetensorsHostile, OverlapsAndHoles) {
  const auto two = [](const std::string& first, const std::string& second) {
    return R"({"a":)" + first + R"(,"b":)" + second + "}";
  };
  EXPECT_NO_THROW(parse(file_of(two(tensor("U8", "[2]", "[2,4]"), tensor("U8", "[2]", "[0,2]")), 4)))
      << "any order of names";
  EXPECT_USER_ERROR(parse(file_of(two(tensor("U8", "[2]", "[0,2]"), tensor("U8", "[2]", "[1,3]")), 3)),
                    "tensor 'b' starts at byte 1 of the data, expected 2 (tensors overlap)");
  EXPECT_USER_ERROR(parse(file_of(two(tensor("U8", "[2]", "[0,2]"), tensor("U8", "[2]", "[0,2]")), 2)), "overlap");
  EXPECT_USER_ERROR(parse(file_of(two(tensor("U8", "[2]", "[0,2]"), tensor("U8", "[1]", "[3,4]")), 4)), "a hole");
}

TEST(SafetensorsHostile, ShapesThatOverflow) {
  // 2^32 x 2^32 x ... wraps to a small product in 64 bits.
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[4294967296,4294967296]", "[0,0]")), 0)), "more elements than fit");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("F64", "[2305843009213693952]", "[0,0]")), 0)), "more bytes than fit");
  EXPECT_USER_ERROR(parse(file_of(one(tensor("U8", "[9223372036854775807]", "[0,9223372036854775807]")), 0)),
                    "than fit");
}

TEST(SafetensorsHostile, NamesDoNotReachTheTerminal) {
  try {
    parse(file_of(R"({"\u001b[31m":3})", 0));
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()).find('\x1b'), std::string::npos);
  }
}

}  // namespace
}  // namespace yopo
