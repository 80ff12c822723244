#include "images/recent_pixels.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

TEST(RecentPixels, MakesAnImageOnceWhileItIsRecent) {
  RecentPixels recent;
  std::string made;
  const auto ask = [&](const std::string& image) {
    return recent
        .get(image,
             [&] {
               made += image;
               return Pixels{{float(image[0])}, {}};
             })
        ->values;
  };
  for (const char* image : {"a", "a", "b", "a", "c", "d"}) EXPECT_EQ(ask(image), std::vector<float>{float(image[0])});
  EXPECT_EQ(made, "abcd");
  for (const char* image : {"e", "b", "e"}) ask(image);  // "a" is the oldest
  EXPECT_EQ(made, "abcde");
  ask("a");
  EXPECT_EQ(made, "abcdea");
}

TEST(RecentPixels, OneThreadMakesWhatSeveralAskFor) {
  RecentPixels recent;
  std::atomic<int> made{0}, asking{0};
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      ++asking;
      const auto pixels = recent.get("a", [&] {
        while (asking < 4) std::this_thread::yield();
        ++made;
        return Pixels{{7.0f}, {}};
      });
      EXPECT_EQ(pixels->values[0], 7.0f);
    });
  threads.clear();
  EXPECT_EQ(made, 1);
}

TEST(RecentPixels, LargeImagesAreNotKept) {
  RecentPixels recent;
  int made = 0;
  const auto ask = [&](const std::string& image, size_t values) {
    recent.get(image, [&] {
      ++made;
      return Pixels{std::vector<float>(values), {}};
    });
  };
  constexpr size_t large = (size_t(64) << 20) / sizeof(float) + 1;
  ask("large", large), ask("large", large);
  EXPECT_EQ(made, 2);
  ask("a", large / 2), ask("b", large / 2);
  ask("a", large / 2), ask("b", large / 2);
  EXPECT_EQ(made, 4) << "two that fit together stay";
  ask("c", large / 2), ask("b", large / 2);
  EXPECT_EQ(made, 5) << "the oldest goes";
  ask("a", large / 2);
  EXPECT_EQ(made, 6);
}

TEST(RecentPixels, AFailureIsNotKept) {
  RecentPixels recent;
  EXPECT_USER_ERROR(recent.get("a", []() -> Pixels { fail("damaged"); }), "damaged");
  EXPECT_EQ(recent.get("a", [] { return Pixels{{1.0f}, {}}; })->values[0], 1.0f);
}

}  // namespace
}  // namespace yopo
