#include "evaluation/shard.h"

#include <algorithm>
#include <charconv>

#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::string_view kShard = " shard ";

bool read_whole(std::string_view text, int64_t& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && !text.empty();
}

}  // namespace

Shard parse_shard(std::string_view text, const std::string& where) {
  Shard shard;
  const size_t slash = text.find('/');
  const bool read = slash != std::string_view::npos && read_whole(text.substr(0, slash), shard.number) &&
                    read_whole(text.substr(slash + 1), shard.count);
  require(read && shard.number >= 1 && shard.number <= shard.count && shard.count <= kMostShards,
          "{}: expected K/N with 1 <= K <= N <= {}, such as 1/4, found '{}'", where, kMostShards, printable(text));
  return shard;
}

std::vector<int64_t> shards_of(const OpenBenchmark& benchmark, int64_t count) {
  std::unordered_map<std::string, size_t> first;
  std::vector<int64_t> shards;
  for (const Sample& sample : *benchmark.samples) {
    // As the first line of an answer file would be known.
    const Json record{{"question_id", sample.id}, {"prompt", sample.prompt.value_or(sample.text)}};
    const size_t place = first.try_emplace(benchmark.key_of()(record, sample.where), shards.size()).first->second;
    shards.push_back(int64_t(place) % count + 1);
  }
  return shards;
}

fs::path seal_of(const fs::path& answers) { return answers.string() + ".fingerprint"; }

AnswerSeal read_seal(const fs::path& answers) {
  const fs::path file = seal_of(answers);
  AnswerSeal seal;
  if (!fs::exists(file)) return seal;
  const std::string text(strip(read_text(file, 1 << 16)));
  const size_t at = text.find(kShard);
  seal.fingerprint = text.substr(0, at);
  if (at != std::string::npos)
    seal.shard = parse_shard(std::string_view(text).substr(at + kShard.size()), file.string());
  const bool known = std::all_of(seal.fingerprint.begin(), seal.fingerprint.end(),
                                 [](unsigned char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); });
  require(known && !seal.fingerprint.empty(), "{}: expected a fingerprint, found '{}'", file.string(), printable(text));
  return seal;
}

}  // namespace yopo
