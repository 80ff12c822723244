#include "evaluation/prepare_ahead.h"

#include <gtest/gtest.h>

#include <atomic>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

ModelInput numbered(size_t i) {
  ModelInput input;
  input.input_ids = {int64_t(i)};
  return input;
}

TEST(PrepareAhead, GivesInputsInOrder) {
  for (const size_t workers : {1, 3, 8})
    for (const size_t ahead : {1, 2, 16, 1000}) {
      PrepareAhead inputs(200, ahead, workers, [](size_t i) {
        if (i % 7 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
        return numbered(i);
      });
      for (int64_t i = 0; i < 200; ++i) ASSERT_EQ(inputs.next().input_ids[0], i) << workers << " " << ahead;
      EXPECT_GT(inputs.seconds(), 0);
      EXPECT_THROW(inputs.next(), InternalError);
    }
}

TEST(PrepareAhead, HoldsNoMoreThanItMay) {
  constexpr size_t kMost = 4;
  std::atomic<size_t> begun{0}, taken{0}, most{0};
  PrepareAhead inputs(100, kMost, 3, [&](size_t i) {
    const size_t held = ++begun - taken;
    for (size_t known = most; held > known && !most.compare_exchange_weak(known, held);) continue;
    return numbered(i);
  });
  for (size_t i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    ++taken;  // before it is: the bound is looser by one
    inputs.next();
  }
  EXPECT_EQ(begun, 100u);
  EXPECT_LE(most, kMost + 1);
}

TEST(PrepareAhead, ThrowsAtTheInputThatFailed) {
  PrepareAhead inputs(50, 10, 2, [](size_t i) {
    require(i != 20, "image {} is damaged", i);
    return numbered(i);
  });
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(inputs.next().input_ids[0], i);
  EXPECT_USER_ERROR(inputs.next(), "image 20 is damaged");
}

TEST(PrepareAhead, EndsInTheMiddle) {
  std::atomic<size_t> begun{0};
  {
    PrepareAhead inputs(1000, 5, 2, [&](size_t i) {
      ++begun;
      return numbered(i);
    });
    inputs.next();
  }
  EXPECT_LE(begun, 6u);
  PrepareAhead none(0, 5, 2, numbered);
  EXPECT_THROW(none.next(), InternalError);
}

}  // namespace
}  // namespace yopo
