// Signals reach a process once and for all, so each test sends them to a child.
#include "core/interrupt.h"

#include <signal.h>

#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/progress.h"
#include "tests/support/child.h"

namespace yopo {
namespace {

using testing::in_child;
using testing::Outcome;
using Milliseconds = std::chrono::milliseconds;

int work(int64_t steps, Milliseconds each) {
  Progress progress("calibrating", steps, "samples");
  for (int64_t i = 0; i < steps; ++i) {
    std::this_thread::sleep_for(each);
    progress.tick();
  }
  return 0;
}

/// By which a child tells its parent how far it has come.
class Ready {
 public:
  Ready() { EXPECT_EQ(pipe(ends_), 0); }
  ~Ready() {
    close(ends_[0]);
    close(ends_[1]);
  }
  void tell() const { EXPECT_EQ(write(ends_[1], "x", 1), 1); }
  void wait() const {
    char byte;
    EXPECT_EQ(read(ends_[0], &byte, 1), 1);
  }

 private:
  int ends_[2] = {-1, -1};
};

TEST(Interrupts, TheFirstSignalStopsTheLoop) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const Ready ready;
    const Outcome outcome = in_child(
        false,
        [&] {
          catch_interrupts();
          ready.tell();
          return work(10'000, Milliseconds(10));
        },
        [&](pid_t child) {
          ready.wait();
          kill(child, signal);
        });
    EXPECT_TRUE(outcome.exited(42)) << "Interrupted is thrown from tick()";
  }
}

TEST(Interrupts, TheSecondSignalEndsTheProcess) {
  const Ready ready;
  const Outcome outcome = in_child(
      false,
      [&] {
        catch_interrupts();
        ready.tell();
        while (!interrupted()) std::this_thread::sleep_for(Milliseconds(1));
        ready.tell();
        std::this_thread::sleep_for(std::chrono::seconds(60));  // stuck where nothing looks at the flag
        return 7;
      },
      [&](pid_t child) {
        for (int i = 0; i < 2; ++i) {
          ready.wait();
          kill(child, SIGINT);
        }
      });
  EXPECT_TRUE(outcome.exited(130));
  EXPECT_EQ(outcome.text, "yopo: interrupted\n");
}

TEST(Interrupts, NothingHappensWithoutASignal) {
  EXPECT_FALSE(interrupted());
  EXPECT_NO_THROW(check_interrupt());
}

// A caller's own wish, for its thread and as long as it lives; the inner one counts.
TEST(Interrupts, AWishOfTheThreadStopsIt) {
  bool stop = true;
  {
    const StopWish wish([&] { return stop; });
    EXPECT_THROW(check_interrupt(), Interrupted);
    EXPECT_FALSE(interrupted());
    std::thread([] { EXPECT_NO_THROW(check_interrupt()); }).join();
    {
      const StopWish none({});
      EXPECT_NO_THROW(check_interrupt());
    }
    EXPECT_THROW(work(1, Milliseconds(0)), Interrupted);
    stop = false;
    EXPECT_NO_THROW(check_interrupt());
    stop = true;
  }
  EXPECT_NO_THROW(check_interrupt());
}

// What came before anybody could answer is answered then.
TEST(Interrupts, ABlockedSignalWaits) {
  const Outcome outcome = in_child(false, [] {
    block_interrupts();
    kill(getpid(), SIGTERM);
    if (interrupted()) return 1;
    catch_interrupts();
    return work(10'000, Milliseconds(1));
  });
  EXPECT_TRUE(outcome.exited(42));
}

// nohup ignores it for the command.
TEST(Interrupts, AnIgnoredHangUpStaysIgnored) {
  const Outcome outcome = in_child(false, [] {
    signal(SIGHUP, SIG_IGN);
    catch_interrupts();
    kill(getpid(), SIGHUP);
    return work(20, Milliseconds(10));
  });
  EXPECT_TRUE(outcome.exited(0));
}

// The harm that a handler did: its frame on the stack of a thread in the middle of arithmetic. No thread but the one
// that waits may take these signals, neither the first nor those it starts later.
TEST(Interrupts, NoThreadThatWorksGetsASignal) {
  const Outcome outcome = in_child(false, [] {
    catch_interrupts();
    const auto blocked = [] {
      sigset_t mask;
      pthread_sigmask(SIG_SETMASK, nullptr, &mask);
      return sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGHUP) == 1;
    };
    std::atomic<bool> other = false;
    std::thread([&] { other = blocked(); }).join();
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
      struct sigaction action {};
      sigaction(number, nullptr, &action);
      if (action.sa_handler != SIG_DFL) return 1;
    }
    return blocked() && other ? 0 : 2;
  });
  EXPECT_TRUE(outcome.exited(0)) << outcome.status;
}

}  // namespace
}  // namespace yopo
