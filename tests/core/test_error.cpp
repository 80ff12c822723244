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
