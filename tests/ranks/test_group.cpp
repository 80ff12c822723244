// Ranks as threads of one process; what becomes of killed ones is tested through the command (python/ranks).
#include "ranks/group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "core/error.h"
#include "ranks/deal.h"

namespace yopo {
namespace {

/// Runs `work` as each of `size` ranks in a thread of its own, over a store that none of them holds; what they ended
/// with.
std::vector<std::string> as_ranks(int size, const std::function<void(RankGroup&)>& work,
                                  const GroupOptions& options = {}, int present = -1) {
  const std::unique_ptr<Store> store = Store::host(0);
  std::vector<std::string> ends(size_t(present < 0 ? size : present));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < int(ends.size()); ++rank)
    threads.emplace_back([&, rank] {
      Launcher launcher{"torchrun", rank, size, "localhost", store->port(), true, "test"};
      try {
        RankGroup ranks(launcher, options);
        try {
          work(ranks);
          ranks.leave();
        } catch (const UserError& error) {
          ends[size_t(rank)] = ranks.leave_with(2, error.what(), false).message;
        } catch (const RankFailed& error) {
          ends[size_t(rank)] = ranks.leave_with(error.code(), error.what(), false).message;
        } catch (const Interrupted&) {
          ends[size_t(rank)] = ranks.leave_with(130, "interrupted", false).message;
        }
      } catch (const std::exception& error) {
        ends[size_t(rank)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return ends;
}

void expect_well(const std::vector<std::string>& ends) {
  for (const std::string& end : ends) EXPECT_EQ(end, "");
}

TEST(RankGroup, BytesComeToAllInOrder) {
  const std::string long_one(3'000'000, 'x');
  expect_well(as_ranks(4, [&](RankGroup& ranks) {
    const std::string own = std::string(1, '\0') + std::to_string(ranks.rank());
    for (int round = 0; round < 3; ++round) {
      const std::vector<std::string> all = ranks.gather(own);
      ASSERT_EQ(all.size(), 4u);
      for (int k = 0; k < 4; ++k) EXPECT_EQ(all[size_t(k)], std::string(1, '\0') + std::to_string(k));
      EXPECT_EQ(ranks.broadcast(ranks.leads() ? long_one + std::to_string(round) : "ignored"),
                long_one + std::to_string(round));
      EXPECT_EQ(ranks.broadcast(""), "");
    }
    for (int k = 0; k < 4; ++k) EXPECT_TRUE(ranks.is_here(k));
  }));
}

TEST(RankGroup, NobodyPassesABarrierBeforeAllHaveCome) {
  std::atomic<int> come = 0;
  expect_well(as_ranks(3, [&](RankGroup& ranks) {
    for (int round = 1; round <= 5; ++round) {
      ++come;
      ranks.barrier();
      EXPECT_GE(come, 3 * round);
      ranks.barrier();
    }
  }));
}

TEST(RankGroup, RankZeroHoldsTheStoreWithoutAnAgent) {
  int port = 0;
  {
    port = Store::host(0)->port();  // free a moment ago
  }
  std::vector<std::thread> threads;
  std::atomic<int> well = 0;
  for (int rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      RankGroup ranks(Launcher{"srun", rank, 2, "localhost", port, false, ""});
      if (ranks.broadcast("hello") == "hello") ++well;
      ranks.leave();
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(well, 2);
}

TEST(RankGroup, WhatDiffersIsNamedOnAllRanks) {
  const std::vector<std::string> ends = as_ranks(3, [](RankGroup& ranks) {
    ranks.agree({{"recipe", "a: 1\nb: 2\n"}});
    ranks.agree({{"release", "1"}, {"recipe", ranks.rank() == 1 ? "a: 1\nb: 3\n" : "a: 1\nb: 2\n"}});
  });
  for (const std::string& end : ends) EXPECT_EQ(end, "recipe: rank 1 of 3 has 'b: 3', rank 0 of 3 has 'b: 2'");
}

TEST(RankGroup, AnErrorEndsTheOthersWithItsMessage) {
  for (const int failing : {0, 2}) {
    const std::vector<std::string> ends = as_ranks(3, [&](RankGroup& ranks) {
      if (ranks.rank() == failing) fail("a.png: broken");
      ranks.barrier();
    });
    for (int k = 0; k < 3; ++k)
      EXPECT_EQ(ends[size_t(k)],
                k == failing ? "a.png: broken" : fmt::format("rank {} of 3 failed: a.png: broken", failing));
  }
}

TEST(RankGroup, OneThatComputesHearsOfItBetweenItsSteps) {
  const std::vector<std::string> ends = as_ranks(2,
                                                 [](RankGroup& ranks) {
                                                   if (ranks.rank() == 1) fail("the disk is full");
                                                   while (true) check_interrupt();
                                                 },
                                                 {.pulse = std::chrono::milliseconds(20)});
  EXPECT_EQ(ends[0], "rank 1 of 2 failed: the disk is full");
}

TEST(RankGroup, OneThatNeverComesIsNamed) {
  const std::vector<std::string> ends = as_ranks(
      4, [](RankGroup&) {}, {.join = std::chrono::milliseconds(1000)}, 2);
  for (const std::string& end : ends)
    EXPECT_NE(end.find("rank 2 of 4, rank 3 of 4 did not come within 1 s"), std::string::npos) << end;
}

TEST(RankGroup, WithoutRankZeroNobodyAnswers) {
  const int port = Store::host(0)->port();
  try {
    RankGroup(Launcher{"srun", 1, 2, "localhost", port, false, ""}, {.join = std::chrono::milliseconds(300)});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("rank 0 of 2 did not come"), std::string::npos) << error.what();
  }
}

TEST(RankGroup, APortThatIsTakenIsNamed) {
  const std::unique_ptr<Store> store = Store::host(0);
  try {
    RankGroup(Launcher{"srun", 0, 2, "localhost", store->port(), false, ""});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(fmt::format("port {}", store->port())), std::string::npos) << error.what();
  }
}

TEST(RankGroup, RanksThatWereToldOfOtherNumbersAreRefused) {
  const std::unique_ptr<Store> store = Store::host(0);
  std::vector<std::thread> threads;
  std::atomic<int> refused = 0;
  for (int rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      try {
        RankGroup(Launcher{"mpirun", rank, rank == 0 ? 2 : 1 + 2, "localhost", store->port(), true, ""},
                  {.join = std::chrono::milliseconds(1500)});
      } catch (const std::exception&) {
        ++refused;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 2);
}

TEST(RankGroup, OneThatFallsSilentIsNamed) {
  std::string end;
  const std::unique_ptr<Store> store = Store::host(0);
  const GroupOptions options{.silence = std::chrono::milliseconds(300), .pulse = std::chrono::milliseconds(20)};
  std::thread silent([&] { RankGroup(Launcher{"srun", 1, 2, "localhost", store->port(), true, ""}, options); });
  try {
    RankGroup ranks(Launcher{"srun", 0, 2, "localhost", store->port(), true, ""}, options);
    ranks.barrier();
  } catch (const RankFailed& error) {
    end = error.what();
  }
  silent.join();
  EXPECT_NE(end.find("rank 1 of 2 failed: it has given no sign of life"), std::string::npos) << end;
}

TEST(RankGroup, OneThatHasLeftIsNotMissed) {
  const GroupOptions options{.silence = std::chrono::milliseconds(200), .pulse = std::chrono::milliseconds(20)};
  std::atomic<bool> gone = false;
  const std::unique_ptr<Store> store = Store::host(0);
  std::thread other([&] {
    {
      RankGroup ranks(Launcher{"srun", 1, 2, "localhost", store->port(), true, ""}, options);
      ranks.leave();
    }
    gone = true;
  });
  RankGroup ranks(Launcher{"srun", 0, 2, "localhost", store->port(), true, ""}, options);
  other.join();
  EXPECT_TRUE(gone);
  // Long after it fell silent.
  for (const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(600);
       std::chrono::steady_clock::now() < until;)
    EXPECT_NO_THROW(check_interrupt());
  ranks.leave();
}

TEST(Deal, EachItemIsTakenOnceAndAllSeeWhatCameOfIt) {
  std::atomic<int> taken[50] = {};
  expect_well(as_ranks(3, [&](RankGroup& ranks) {
    for (int round = 0; round < 2; ++round) {
      Deal deal(ranks, 25);
      std::vector<std::thread> threads;
      for (int t = 0; t < 2; ++t)
        threads.emplace_back([&] {
          for (size_t item = deal.take(); item < deal.count(); item = deal.take()) {
            ++taken[round * 25 + int(item)];
            deal.give(item, std::string(item, '\0'));
          }
        });
      for (std::thread& thread : threads) thread.join();
      std::set<size_t> seen;
      const auto see = [&](size_t item, const std::string& bytes) {
        EXPECT_EQ(bytes, std::string(item, '\0'));
        EXPECT_TRUE(seen.insert(item).second);
      };
      deal.look(see);
      deal.finish(see);
      EXPECT_EQ(seen.size(), 25u);
    }
    Deal nothing(ranks, 0);
    EXPECT_GE(nothing.take(), nothing.count());
    nothing.finish([](size_t, const std::string&) { FAIL(); });
  }));
  for (const std::atomic<int>& count : taken) EXPECT_EQ(count, 1);
}

TEST(Deal, ARankThatFailsEndsTheOthers) {
  const std::vector<std::string> ends = as_ranks(2, [](RankGroup& ranks) {
    Deal deal(ranks, 3);
    if (ranks.rank() == 1) fail("NaN");
    for (size_t item = deal.take(); item < 2; item = deal.take()) deal.give(item, "");
    deal.finish([](size_t, const std::string&) {});
  });
  EXPECT_EQ(ends[0], "rank 1 of 2 failed: NaN");
}

}  // namespace
}  // namespace yopo
