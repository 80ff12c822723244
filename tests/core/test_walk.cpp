#include "core/walk.h"

#include <signal.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"

namespace yopo {
namespace {

TEST(Walk, TellsItsShare) {
  std::vector<double> shares;
  Walk walk([&](double share) { shares.push_back(share); });
  walk.begin(4);
  for (int i = 0; i < 4; ++i) walk.step();
  EXPECT_EQ(shares, (std::vector<double>{0.25, 0.5, 0.75, 1}));
  shares.clear();
  walk.begin(2);
  walk.step();
  walk.expect(6);                           // turns out later
  for (int i = 0; i < 8; ++i) walk.step();  // and more come than were expected
  EXPECT_EQ(shares, (std::vector<double>{0.5, 0.5, 0.5, 0.5, 0.625, 0.75, 0.875, 1, 1}));
}

TEST(Walk, IsHeardByNobody) {
  Walk walk;
  walk.step();
  walk.begin(1);
  walk.step();
}

TEST(Walk, EndsWithWhatTheListenerThrows) {
  Walk walk([](double) { throw UserError("enough"); });
  walk.begin(2);
  EXPECT_THROW(walk.step(), UserError);
}

// In a child: the flag of an interrupt stays.
TEST(Walk, EndsWhenTheUserAsksTo) {
  EXPECT_EXIT(
      {
        catch_interrupts();
        Walk walk;
        walk.begin(2);
        walk.step();
        kill(getpid(), SIGINT);
        while (!interrupted()) std::this_thread::yield();
        try {
          walk.step();
        } catch (const Interrupted&) {
          std::exit(0);
        }
        std::exit(1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace yopo
