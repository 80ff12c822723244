// One evaluation shared by several machines: each asks its shard of the questions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "evaluation/benchmarks/open.h"

namespace yopo {

struct Shard {
  int64_t number = 1, count = 1;  // number from 1 to count
  bool whole() const { return count == 1; }
  std::string text() const { return fmt::format("{}/{}", number, count); }
};

inline constexpr int64_t kMostShards = 1'000'000;

/// "2/3"; UserError naming `where` for anything but 1 <= K <= N <= 1,000,000.
Shard parse_shard(std::string_view text, const std::string& where);

/// The shard of `count` that each sample belongs to, from 1 on: its place among the questions modulo `count`. Questions
/// that one answer file tells apart by their order alone (TextVQA's repeated ones) stay with the first of them.
std::vector<int64_t> shards_of(const OpenBenchmark& benchmark, int64_t count);

/// What stands in `<answers>.fingerprint`: the run's fingerprint, and which shard of it where it is not whole.
struct AnswerSeal {
  std::string fingerprint;
  Shard shard;
  std::string text() const {
    return shard.whole() ? fingerprint : fmt::format("{} shard {}", fingerprint, shard.text());
  }
};

/// The seal beside an answer file, with an empty fingerprint where there is none. UserError naming it when it is
/// damaged.
AnswerSeal read_seal(const fs::path& answers);
fs::path seal_of(const fs::path& answers);

}  // namespace yopo
