#include "core/error.h"

#include <gtest/gtest.h>

#include "tests/support/temporary.h"

namespace yopo {
namespace {

TEST(Error, NearestFindsTypingMistakes) {
  const std::vector<std::string> known{"dataset", "queries", "window", "size", "scope"};
  EXPECT_EQ(nearest("quaries", known), "queries");
  EXPECT_EQ(nearest("wndow", known), "window");
  EXPECT_EQ(nearest("Window", known), "window");
  EXPECT_EQ(nearest("sizes", known), "size");
  EXPECT_EQ(nearest("szie", known), "size");  // a swap counts once: two edits would be too many for four letters
  EXPECT_EQ(nearest("szi", known), "");
}

TEST(Error, NearestIsSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest("banana", {"dataset", "queries"}), "");
  EXPECT_EQ(nearest("", {"a"}), "");
  EXPECT_EQ(nearest("ab", {"cd"}), "");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(nearest(std::string(1 << 20, 'a'), {std::string(1 << 20, 'a')}), "");  // hostile lengths cost nothing
}

TEST(Error, NearestPrefersTheFirstOfEqual) { EXPECT_EQ(nearest("heat", {"head", "hear"}), "head"); }

TEST(Error, DidYouMean) {
  EXPECT_EQ(did_you_mean("quaries", {"queries"}), "; did you mean 'queries'?");
  EXPECT_EQ(did_you_mean("banana", {"queries"}), "");
}

TEST(Error, FailAndRequireFormat) {
  EXPECT_USER_ERROR(fail("{}: expected {}", "a.bin", 3), "a.bin: expected 3");
  EXPECT_USER_ERROR(require(false, "{} is bad", "x"), "x is bad");
  EXPECT_NO_THROW(require(true, "{} is bad", "x"));
  EXPECT_THROW(ensure(false, "broken"), InternalError);
  EXPECT_NO_THROW(ensure(true, "whole"));
}

TEST(Error, WhatATerminalObeysIsEscaped) {
  EXPECT_EQ(escaped("a\x1b[31m\n\x07\x7f"), "a\\x1b[31m\\x0a\\x07\\x7f");
  EXPECT_EQ(escaped("\xc2\x80\xc2\x9b\xc2\x9f|\xc2\xa0"),
            "\\u0080\\u009b\\u009f|\xc2\xa0");  // C1; then a plain character
  EXPECT_EQ(escaped("\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f\xe2\x80\xa8\xe2\x80\xa9"), "\\u061c\\u200e\\u200f\\u2028\\u2029");
  for (const auto& [first, last] : {std::pair<int, int>{0x202a, 0x202e}, {0x2066, 0x2069}})
    for (int point = first; point <= last; ++point) {
      const std::string mark{char(0xe2), char(0x80 | (point >> 6 & 0x3f)), char(0x80 | (point & 0x3f))};
      EXPECT_EQ(escaped("a" + mark), fmt::format("a\\u{:04x}", point));
    }
  EXPECT_EQ(escaped("\x9b"
                    "31m \xff \xe2\x80"),
            "\\x9b31m \\xff \\xe2\\x80");  // no UTF-8: 8-bit terminals obey it
  const std::string plain = "größe ✓ 数 🙂 \\x1b 'a'";
  EXPECT_EQ(escaped(plain), plain);
  EXPECT_EQ(escaped(escaped("\x1b\n")), escaped("\x1b\n"));
  EXPECT_EQ(escaped_lines("a\tb\n\x1b\r"), "a\tb\n\\x1b\\x0d");
}

TEST(Error, NoMessageCarriesControls) {
  EXPECT_STREQ(UserError("\x1b[2J: \xc2\x9b").what(), "\\x1b[2J: \\u009b");
  EXPECT_USER_ERROR(fail("{}: damaged", "a\nyopo: done"), "a\\x0ayopo: done: damaged");
  EXPECT_EQ(did_you_mean("quaries", {"qu\x1b"
                                     "eries"}),
            "; did you mean 'qu\\x1beries'?");
}

TEST(Error, PrintableEscapesAndCuts) {
  EXPECT_EQ(printable("a\x1b[31m\n"), "a\\x1b[31m\\x0a");
  EXPECT_EQ(printable("größe"), "größe");
  const std::string cut = printable(std::string(1000, 'x'));
  EXPECT_EQ(cut, std::string(200, 'x') + "...");
  // The cut does not fall inside a character of two bytes.
  EXPECT_EQ(printable(std::string(199, 'x') + "ößx"), std::string(199, 'x') + "ö...");
}

}  // namespace
}  // namespace yopo
