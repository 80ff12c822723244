#include "evaluation/benchmarks/benchmark.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/gqa/score.h"
#include "evaluation/benchmarks/record_array.h"
#include "text/unicode.h"

namespace yopo {

namespace {

/// JSON [{questionId, prediction}], predictions without trailing dots and in lower case.
void submit(const Gqa& data, const Answers& answers, const fs::path& target) {
  RecordArray file(target);
  for (const Sample& sample : data.samples) {
    std::string_view text = answer_to(sample, answers);
    while (text.ends_with('.')) text.remove_suffix(1);
    file.add(Json{{"questionId", sample.id}, {"prediction", lower(text)}});
  }
  file.commit();
}

void open_gqa(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_gqa(source), source.dataset.samples);
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol.name](const Answers& answers) {
    return score_gqa(*data, answers, protocol);
  };
  into.submit = [data](const Answers& answers, const fs::path& target) { submit(*data, answers, target); };
}

}  // namespace

const Benchmark& gqa_benchmark() {
  static const Benchmark benchmark{.name = "gqa",
                                   .protocols = {{}, {.name = "lmms", .about = "as lmms-eval", .max_new_tokens = 16}},
                                   .headline = "accuracy",
                                   .open = open_gqa,
                                   .submission = Submission::File,
                                   .published = published_scores({62.0, 62.3, 61.6, 60.7}, {63.3, 63.0, 62.5, 61.2})};
  return benchmark;
}

}  // namespace yopo
