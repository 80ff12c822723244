// Any texts as a benchmark's files, parts that lines "===" keep apart: the benchmark's name (and protocol behind a
// space), its questions, its annotations, answers. Either a UserError, or a score for the answers. MME's folder is made
// of the questions' part.
#include <cmath>
#include <cstdlib>

#include "evaluation/benchmarks/open.h"
#include "evaluation/benchmarks/registry.h"
#include "tests/fuzz/fuzz_files.h"

namespace {

using namespace yopo;

constexpr std::string_view kSplits = "scienceqa";

EvaluateOptions options_of(const std::vector<std::string_view>& parts) {
  std::string name(parts[0].substr(0, parts[0].find('\n')));
  EvaluateOptions options;
  if (const size_t space = name.find(' '); space != std::string::npos) {
    options.protocol = name.substr(space + 1);
    name.resize(space);
  }
  options.benchmark = name;
  const fuzz::Folder& folder = fuzz::folder();
  if (name == "mme") {
    fs::create_directories(folder.path() / "MME/count");
    folder.write("MME/count/1.txt", parts[1]);
    options.dataset.annotations = folder.path() / "MME";
    if (!parts[2].empty()) options.dataset.questions = folder.write("questions.jsonl", parts[2]);
    return options;
  }
  const bool json = parts[1].starts_with('{') && parts[1].find("\"questions\"") < 100;  // VQAv2's official file
  options.dataset.questions = folder.write(json ? "questions.json" : "questions.jsonl", parts[1]);
  if (parts[2].empty()) return options;
  if (name == "pope") {
    options.dataset.annotations = folder.write("coco_pope_random.json", parts[2]);
  } else if (name == kSplits) {
    folder.write("problems.json", parts[2]);
    folder.write("pid_splits.json", R"({"test": ["1", "2", "3"]})");
    options.dataset.annotations = folder.path();
  } else {
    options.dataset.annotations = folder.write("annotations.json", parts[2]);
  }
  return options;
}

void check(const OpenBenchmark& benchmark, const Score& score) {
  if (score.values.size() != benchmark.samples->size() || !std::isfinite(score.score)) std::abort();
  for (const double value : score.values)
    if (value < 0 || value > 1) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = fuzz::parts_of(fuzz::text_of(data, size), 4);
  fuzz::refused_or([&] {
    const EvaluateOptions options = options_of(parts);
    const OpenBenchmark benchmark = open_benchmark(options, false);
    for (const std::string& rule : benchmark.benchmark->rules) {
      EvaluateOptions other = options;
      other.rule = rule;
      open_benchmark(other, false);
    }
    Answers right{"right", {}};  // all of them, so that every metric is worked out
    for (const Sample& sample : *benchmark.samples)
      right.text[question_key(sample)] = sample.answers.empty() ? "" : sample.answers[0];
    fuzz::refused_or([&] { check(benchmark, benchmark.score(right)); });
    const fs::path answers = fuzz::folder().write("answers.jsonl", parts[3]);
    check(benchmark, benchmark.score(read_answers(answers, benchmark)));
  });
  return 0;
}
