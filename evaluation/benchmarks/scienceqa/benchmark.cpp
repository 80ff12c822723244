#include "evaluation/benchmarks/benchmark.h"
#include "core/error.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/scienceqa/score.h"

namespace yopo {

namespace {

/// The questions of the split that were not asked are wrong in the total.
ScoreSums sums_of(const OpenBenchmark& /*benchmark*/, const Answers& /*answers*/, const Score& score) {
  return mean_sums(score, {{"total", {0, double(score.count) - double(score.values.size())}}}, "IMG");
}

/// lmms-eval's score is that of all questions.
void add_to_results(const OpenBenchmark& /*benchmark*/, const Score& score, Json& metrics) {
  for (const auto& [name, value] : score.categories)
    if (name == "total") metrics["exact_match,none"] = value;
}

void open_scienceqa(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_scienceqa(source), source.dataset.samples);
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol.name](const Answers& answers) {
    return score_scienceqa(*data, answers, protocol);
  };
}

}  // namespace

const Benchmark& scienceqa_benchmark() {
  static const Benchmark benchmark{
      .name = "scienceqa",
      .protocols =
          {{.max_new_tokens = 1024, .request = kOptionLetter},
           {.name = "lmms", .about = "as lmms-eval", .max_new_tokens = 16, .request = kOptionLetter, .reworded = true}},
      .headline = "accuracy of questions with an image",
      .open = open_scienceqa,
      .resampling = {.sums = sums_of},
      .lmms = {.add_to_results = add_to_results},
      .published = published_scores({66.8, 69.4, 69.0, 68.0}, {71.6, 72.4, 71.3, 70.7})};
  return benchmark;
}

}  // namespace yopo
