#include "formats/npy.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;

std::string npy(const std::string& header, const std::string& data, int major = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += char(major);
  bytes += '\0';
  bytes += char(header.size() & 0xff);
  bytes += char(header.size() >> 8);
  if (major > 1) bytes += std::string(2, '\0');
  return bytes + header + data;
}
std::string dict(const std::string& descr, const std::string& shape, const std::string& fortran = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }\n";
}

class Npy : public ::testing::Test {
 protected:
  NpyArray read(const std::string& bytes) {
    testing::write_file(folder_ / "a.npy", bytes);
    return read_npy(folder_ / "a.npy");
  }
  TemporaryFolder folder_;
};

TEST_F(Npy, RoundTripIsNumPysOwnLayout) {
  write_npy_bool(folder_ / "m.npy", {{1, 0, 1}, {0, 0, 7}});
  const std::string bytes = testing::read_file(folder_ / "m.npy");
  const std::string start =
      std::string("\x93NUMPY\x01\0v\0", 10) + "{'descr': '|b1', 'fortran_order': False, 'shape': (2, 3), }";
  EXPECT_EQ(bytes.substr(0, start.size()), start);
  EXPECT_EQ(bytes[127], '\n') << "data starts at a multiple of 64";
  EXPECT_EQ(bytes.substr(128), std::string("\1\0\1\0\0\1", 6));
  const NpyArray array = read_npy(folder_ / "m.npy");
  EXPECT_EQ(array.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(array.values, (std::vector<int64_t>{1, 0, 1, 0, 0, 1}));
  write_npy_bool(folder_ / "empty.npy", {});
  EXPECT_EQ(read_npy(folder_ / "empty.npy").shape, (std::vector<int64_t>{0, 0}));
}

TEST_F(Npy, ReadsEveryKind) {
  using V = std::vector<int64_t>;
  EXPECT_EQ(read(npy(dict("|b1", "(3,)"), std::string("\0\1\2", 3))).values, (V{0, 1, 1}));
  EXPECT_EQ(read(npy(dict("|i1", "(2,)"), "\xff\x05")).values, (V{-1, 5}));
  EXPECT_EQ(read(npy(dict("|u1", "(2,)"), "\xff\x05")).values, (V{255, 5}));
  EXPECT_EQ(read(npy(dict("<i2", "(1,)"), "\xfe\xff")).values, (V{-2}));
  EXPECT_EQ(read(npy(dict(">i2", "(1,)"), "\xff\xfe")).values, (V{-2}));
  EXPECT_EQ(read(npy(dict("<i8", "(1,)"), "\xfd\xff\xff\xff\xff\xff\xff\xff")).values, (V{-3}));
  EXPECT_EQ(read(npy(dict("<u4", "(1,)"), std::string("\0\0\0\x80", 4))).values, (V{2147483648}));
  EXPECT_EQ(read(npy(dict("<f4", "(2,)"), std::string("\0\0\0\0\0\0\x80\x3f", 8))).values, (V{0, 1}));
  EXPECT_EQ(read(npy(dict("<f2", "(1,)"), std::string("\0\x3c", 2))).values, (V{1}));
  EXPECT_EQ(read(npy(dict("<f8", "(1,)"), std::string("\0\0\0\0\0\0\xf0\x3f", 8))).values, (V{1}));
  EXPECT_EQ(read(npy(dict("|b1", "()"), "\1")).values, (V{1}));
  EXPECT_EQ(read(npy(dict("|b1", "(1,)"), "\1", 2)).values, (V{1}));
  EXPECT_EQ(read(npy(dict("|b1", "(1,)"), "\1", 3)).values, (V{1}));
}

TEST_F(Npy, FortranOrderIsTurned) {
  // Column-major bytes of [[0, 1, 2], [3, 4, 5]].
  const NpyArray array = read(npy(dict("|i1", "(2, 3)", "True"), std::string("\0\3\1\4\2\5", 6)));
  EXPECT_EQ(array.values, (std::vector<int64_t>{0, 1, 2, 3, 4, 5}));
  // [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
  EXPECT_EQ(read(npy(dict("|i1", "(2, 2, 2)", "True"), std::string("\0\4\2\6\1\5\3\7", 8))).values,
            (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_F(Npy, RefusesObjects) {
  EXPECT_USER_ERROR(read(npy(dict("|O", "(1,)"), "pickle")), "never unpickled");
  EXPECT_USER_ERROR(read(npy(dict("O", "(1,)"), "pickle")), "never unpickled");
}

TEST_F(Npy, RefusesOtherKinds) {
  EXPECT_USER_ERROR(read(npy(dict("<c8", "(1,)"), "12345678")), "dtype '<c8'");
  EXPECT_USER_ERROR(read(npy(dict("<U1", "(1,)"), "1234")), "dtype '<U1'");
  EXPECT_USER_ERROR(read(npy(dict("<f3", "(1,)"), "123")), "dtype '<f3'");
  EXPECT_USER_ERROR(read(npy(dict("", "(1,)"), "1")), "dtype ''");
  EXPECT_USER_ERROR(read(npy(dict(std::string("<f\0", 3), "(0,)"), "")), "dtype");
  EXPECT_USER_ERROR(read(npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,)}", "1234")),
                    "structured");
  EXPECT_USER_ERROR(read(npy(dict("<f4", "(1,)"), std::string("\0\0\0\x3f", 4))), "element 0 of a float array is 0.5");
  EXPECT_USER_ERROR(read(npy(dict("<f4", "(1,)"), std::string("\0\0\xc0\x7f", 4))), "is nan");
  EXPECT_USER_ERROR(read(npy(dict("<u8", "(1,)"), std::string(8, '\xff'))), "past 63 bits");
}

TEST_F(Npy, RefusesSizesThatDoNotFit) {
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(3,)"), "\1\1")), "needs 3 elements of 1 bytes, 2 bytes are there");
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(1,)"), "\1\1")), "2 bytes are there");
  EXPECT_USER_ERROR(read(npy(dict("<i4", "(1,)"), "\1\1\1\1\1")), "5 bytes are there");
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(4294967296, 4294967296)"), "")), "more elements than fit");
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(99999999999999999999,)"), "")), "does not fit");
  EXPECT_USER_ERROR(read(npy(dict("<i8", "(2305843009213693952,)"), "")), "bytes are there");
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(-1,)"), "")), "expected a dimension");
}

TEST_F(Npy, RefusesBadHeaders) {
  EXPECT_USER_ERROR(read(""), "not a .npy file");
  EXPECT_USER_ERROR(read("PK\3\4 a zip archive of arrays"), "not a .npy file");
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(1,)"), "\1", 4)), "version 4.0");
  EXPECT_USER_ERROR(read(std::string("\x93NUMPY\x01\0\xff\0{", 11)), "cut short");
  EXPECT_USER_ERROR(read(std::string("\x93NUMPY\x02\0\xff\xff\xff\xff", 12)), "4294967295 bytes");
  EXPECT_USER_ERROR(read(npy("{'descr': '|b1', 'shape': (1,)}", "\1")), "expected the keys");
  EXPECT_USER_ERROR(read(npy("{'descr': '|b1', 'descr': '|b1'}", "\1")), "twice");
  EXPECT_USER_ERROR(read(npy("{'evil': 1}", "\1")), "unknown key 'evil'");
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(1,)") + "x", "\1")), "text after its end");
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(1)"), "\1")), "expected a tuple");
  EXPECT_USER_ERROR(read(npy(dict("|b1", "(1,)", "1"), "\1")), "True or False");
  EXPECT_USER_ERROR(read(npy("{'descr: '|b1", "\1")), "bad .npy header at byte");
  EXPECT_USER_ERROR(read(npy("", "\1")), "expected '{'");
}

}  // namespace
}  // namespace yopo
