#include "models/recent_pixels.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

TEST(RecentPixels, MakesAnImageOnceWhileItIsRecent) {
  RecentPixels recent;
  std::string made;
  const auto ask = [&](const std::string& image) {
    return recent.get(image, [&] {
      made += image;
      return Pixels{{float(image[0])}, {}};
    })->values;
  };
  for (const char* image : {"a", "a", "b", "a", "c", "d"}) EXPECT_EQ(ask(image), std::vector<float>{float(image[0])});
  EXPECT_EQ(made, "abcd");
  for (const char* image : {"e", "b", "e"}) ask(image);  // "a" is the oldest
  EXPECT_EQ(made, "abcde");
  ask("a");
  EXPECT_EQ(made, "abcdea");
}

TEST(RecentPixels, AFailureIsNotKept) {
  RecentPixels recent;
  EXPECT_USER_ERROR(recent.get("a", []() -> Pixels { fail("damaged"); }), "damaged");
  EXPECT_EQ(recent.get("a", [] { return Pixels{{1.0f}, {}}; })->values[0], 1.0f);
}

}  // namespace
}  // namespace yopo
