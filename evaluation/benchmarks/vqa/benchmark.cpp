// Plain question files: any questions with one expected answer, or ten.
#include "evaluation/benchmarks/benchmark.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/vqa/score.h"

namespace yopo {

namespace {

void open_plain(const BenchmarkSource& source, OpenBenchmark& into) {
  struct Plain {
    std::vector<Sample> samples;
  };
  const auto data = chosen(Plain{read_samples(source.dataset, source.images_needed)}, source.dataset.samples);
  for (const Sample& sample : data->samples) check_expected(sample);
  into.samples = samples_of(data);
  into.score = [data](const Answers& answers) { return score_plain(data->samples, answers); };
}

}  // namespace

const Benchmark& vqa_benchmark() {
  static const Benchmark benchmark{.name = "vqa", .headline = "mean score", .open = open_plain};
  return benchmark;
}

}  // namespace yopo
