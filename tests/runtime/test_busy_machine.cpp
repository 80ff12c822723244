// When threads that wait for cores count as contention, and when no longer.
#include <gtest/gtest.h>

#include "runtime/busy_machine.h"

namespace yopo::runtime {
namespace {

constexpr int64_t ms = 1'000'000;

TEST(Contention, ComesWithOneWaitingThreadAndGoesAfterAQuietSecond) {
  Contention contention;
  EXPECT_FALSE(contention.update({{1, 700 * ms}, {2, 0}}, 50 * ms)) << "what was waited before counts for nothing";
  EXPECT_FALSE(contention.update({{1, 700 * ms}, {2, 4 * ms}}, 50 * ms)) << "less than a tenth";
  EXPECT_TRUE(contention.update({{1, 700 * ms}, {2, 9 * ms}}, 50 * ms));
  EXPECT_TRUE(contention.update({{1, 702 * ms}, {2, 9 * ms}}, 50 * ms)) << "neither much nor quiet";
  for (int i = 0; i < 19; ++i) EXPECT_TRUE(contention.update({{1, 702 * ms}, {2, 9 * ms}}, 50 * ms)) << i;
  EXPECT_FALSE(contention.update({{1, 702 * ms}, {2, 9 * ms}}, 50 * ms));
  EXPECT_TRUE(contention.update({{1, 800 * ms}}, 50 * ms)) << "and again; a thread that has gone is not missed";
}

TEST(Contention, NewThreadsHaveNotWaited) {
  Contention contention;
  contention.update({{1, 0}}, 50 * ms);
  EXPECT_FALSE(contention.update({{1, 0}, {2, 40 * ms}}, 50 * ms));
  EXPECT_FALSE(contention.now());
}

}  // namespace
}  // namespace yopo::runtime
