#include "exporters/background_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

std::string numbered(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = char(i * 2654435761u >> 13);
  return text;
}

TEST(BackgroundWriter, PassesEveryByteInOrder) {
  const std::string all = numbered((size_t(30) << 20) + 17);  // more than its buffers hold, and a remainder
  std::string got;
  BackgroundWriter writer([&](const void* data, size_t size) { got.append(static_cast<const char*>(data), size); });
  for (size_t at = 0, step = 1; at < all.size(); at += step, step = step * 3 % 700'001 + 1) {
    step = std::min(step, all.size() - at);
    writer.append(all.data() + at, step);
  }
  writer.finish();
  EXPECT_TRUE(got == all);
  writer.append("more", 4);
  writer.finish();
  EXPECT_EQ(got.size(), all.size() + 4);
}

TEST(BackgroundWriter, ThrowsWhatTheSinkThrew) {
  const std::string block = numbered(size_t(4) << 20);
  std::atomic<int> calls = 0;
  BackgroundWriter writer([&](const void*, size_t) {
    if (++calls == 2) fail("the disk is full");
  });
  EXPECT_USER_ERROR(
      {
        for (int i = 0; i < 20; ++i) writer.append(block.data(), block.size());
        writer.finish();
      },
      "the disk is full");
  EXPECT_EQ(calls, 2);
}

TEST(BackgroundWriter, EndsWithBytesStillWaiting) {
  const std::string block = numbered(size_t(9) << 20);
  BackgroundWriter writer([](const void*, size_t) {});
  writer.append(block.data(), block.size());
}

TEST(BackgroundWriter, NothingIsNothing) {
  BackgroundWriter writer([](const void*, size_t) { ADD_FAILURE() << "there was nothing to pass on"; });
  writer.finish();
}

}  // namespace
}  // namespace yopo
