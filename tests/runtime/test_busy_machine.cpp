// When threads that wait for cores count as contention, and when no longer.
#include <gtest/gtest.h>

#include "runtime/busy_machine.h"

namespace yopo::runtime {
namespace {

constexpr int64_t ms = 1'000'000;

TEST(Contention, ComesWithOneWaitingThreadAndGoesWhenItIsQuiet) {
  Contention contention;
  EXPECT_FALSE(contention.update({{1, 700 * ms}, {2, 0}}, 50 * ms)) << "what was waited before counts for nothing";
  EXPECT_TRUE(contention.update({{1, 700 * ms}, {2, 25 * ms}}, 50 * ms)) << "half of an interval";
  int updates = 0;
  while (contention.update({{1, 700 * ms}, {2, 25 * ms}}, 50 * ms)) ASSERT_LT(++updates, 100);
  EXPECT_GE(updates, 10) << "half a second at least";
  EXPECT_LE(updates, 20);
  EXPECT_TRUE(contention.update({{1, 800 * ms}}, 50 * ms)) << "and again; a thread that has gone is not missed";
}

TEST(Contention, StaysWhereAThreadGoesOnWaiting) {
  Contention contention;
  int64_t waited = 0;
  contention.update({{1, waited}}, 50 * ms);
  int on = 0;
  for (int i = 0; i < 100; ++i) on += contention.update({{1, waited += 15 * ms}}, 50 * ms);
  EXPECT_GE(on, 98) << "three tenths of the time";
}

// As seen on an idle machine: a hundredth of the time, and once a second an interval with much more.
TEST(Contention, SingleIntervalsAreNone) {
  Contention contention;
  int64_t waited = 0;
  contention.update({{1, waited}}, 50 * ms);
  for (int i = 0; i < 400; ++i) EXPECT_FALSE(contention.update({{1, waited += i % 20 ? ms : 9 * ms}}, 50 * ms)) << i;
}

TEST(Contention, NewThreadsHaveNotWaited) {
  Contention contention;
  contention.update({{1, 0}}, 50 * ms);
  EXPECT_FALSE(contention.update({{1, 0}, {2, 40 * ms}}, 50 * ms));
  EXPECT_FALSE(contention.now());
}

}  // namespace
}  // namespace yopo::runtime
