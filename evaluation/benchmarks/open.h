// A benchmark opened by name, and answers to its questions.
#pragma once

#include "evaluation/benchmarks/benchmark.h"

namespace yopo {

/// Larger batches are a mistake of the hand.
constexpr int64_t most_questions_at_once = 65'536;

struct EvaluateOptions {
  std::string benchmark = default_benchmark();
  DatasetOptions dataset;
  int64_t batch_size = 1;
  int64_t max_new_tokens = 0;  // 0: the benchmark's own
  std::string protocol;        // of Benchmark::protocols; "": the first
  std::string rule;            // of Benchmark::rules; "": the protocol's own
};

/// Reads a benchmark's files. `images_needed`: the questions are to be asked; else images may be absent. With
/// `dataset.samples` that many are chosen (of MME pairs, of MMBench groups). UserError for an unknown benchmark,
/// protocol or rule, and as the readers say.
OpenBenchmark open_benchmark(const EvaluateOptions& options, bool images_needed);

/// Ready answers: JSON lines {question_id, text}, with `prompt` where one question_id has several questions. The last
/// of repeated lines counts, with a warning. Answers to questions that are not asked are left out and counted in one
/// warning; UserError naming file and line where all are.
Answers read_answers(const fs::path& file, const OpenBenchmark& benchmark);

}  // namespace yopo
