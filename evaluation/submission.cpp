#include "evaluation/submission.h"

#include "core/error.h"
#include "evaluation/benchmarks/registry.h"

namespace yopo {

namespace {

/// "a, b and c".
std::string listed(const std::vector<std::string>& names) {
  if (names.size() < 2) return fmt::format("{}", fmt::join(names, ""));
  return fmt::format("{} and {}", fmt::join(names.begin(), names.end() - 1, ", "), names.back());
}

}  // namespace

void check_submission(const Benchmark& benchmark, const fs::path& target) {
  std::vector<std::string> takers;
  for (const Benchmark* one : benchmarks())
    if (one->submission != Submission::None) takers.push_back(one->name);
  require(benchmark.submission != Submission::None, "submission: benchmark {} takes no file; {} do", benchmark.name,
          listed(takers));
  const bool folder = benchmark.submission == Submission::Folder;
  require(!fs::exists(target) || fs::is_directory(target) == folder,
          "submission: {}: benchmark {} takes a {}, found a {}", target.string(), benchmark.name,
          folder ? "folder" : "file", folder ? "file" : "folder");
}

void write_submission(const OpenBenchmark& benchmark, const Answers& answers, const fs::path& target) {
  check_submission(*benchmark.benchmark, target);
  benchmark.submit(answers, target);
}

}  // namespace yopo
