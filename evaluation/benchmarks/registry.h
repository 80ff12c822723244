// The benchmarks by name: how each is read, asked and scored.
#pragma once

#include <functional>
#include <memory>

#include "evaluation/benchmarks/files.h"
#include "evaluation/benchmarks/score.h"
#include "evaluation/journal.h"

namespace yopo {

struct EvaluateOptions {
  std::string benchmark = "vqa";
  DatasetOptions dataset;
  int64_t batch_size = 1;
  int64_t max_new_tokens = 0;  // 0: the benchmark's own
  std::string protocol;        // llava | lmms | plain (mmbench); "": llava
  std::string rule;            // MMBench: letter | vlmevalkit | lmms; "": the protocol's own
};

struct OpenBenchmark;

struct Benchmark {
  std::string name;
  std::vector<std::string> protocols;  // the first is the default
  std::vector<std::string> rules;  // of turning answers into letters; the first is the default; empty: none to choose
  int64_t max_new_tokens;          // of an answer, protocol llava
  std::string headline;            // what the score is
  void (*open)(const BenchmarkSource& source, OpenBenchmark& into);
  bool points = false;  // its scores are points, not fractions
};

/// All of them; and one by its name: UserError with the nearest known one.
const std::vector<Benchmark>& benchmarks();
const Benchmark& benchmark_named(const std::string& name);

/// A benchmark's files, read and checked. What the metric needs beside the answers lies behind `score`.
struct OpenBenchmark {
  const Benchmark* benchmark = nullptr;
  std::string protocol, rule;  // as resolved; rule "" where there is none to choose
  int64_t max_new_tokens = 0;  // of an answer
  std::shared_ptr<const std::vector<Sample>> samples;
  std::function<Score(const Answers&)> score;
  std::vector<std::pair<std::string, bool>> full_list;  // VQAv2: the submission's ids, and whether they are integers
  /// What an answer record's question is known by, as question_key(sample). Made fresh for each file: where questions
  /// repeat, it counts lines.
  std::function<KeyOf()> key_of;
};

/// Reads a benchmark's files. `images_needed`: the questions are to be asked; else images may be absent. With
/// `dataset.samples` that many are chosen (of MME pairs, of MMBench groups). UserError for an unknown benchmark,
/// protocol or rule, and as the readers say.
OpenBenchmark open_benchmark(const EvaluateOptions& options, bool images_needed);

/// Ready answers: JSON lines {question_id, text}, with `prompt` where one question_id has several questions. The last
/// of repeated lines counts, with a warning. UserError naming file and line for an answer to a question that is not
/// asked.
Answers read_answers(const fs::path& file, const OpenBenchmark& benchmark);

}  // namespace yopo
