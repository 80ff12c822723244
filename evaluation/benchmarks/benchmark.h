// A benchmark as one record: how its files are read, its questions asked, its answers scored, compared, submitted and
// shown. What belongs to one benchmark stands in its own folder; everything else asks the record and knows no name.
#pragma once

#include <functional>
#include <memory>

#include "evaluation/benchmarks/files.h"
#include "evaluation/benchmarks/published.h"
#include "evaluation/benchmarks/score.h"
#include "evaluation/benchmarks/sums.h"
#include "evaluation/journal.h"

namespace yopo {

struct Benchmark;

/// A benchmark's files, read and checked. What the metric needs besides the answers is held by the functions.
struct OpenBenchmark {
  const Benchmark* benchmark = nullptr;
  std::string protocol, rule;  // as resolved; rule "" where there is none to choose
  int64_t max_new_tokens = 0;  // of an answer
  bool labelled = true;        // false: the files have no labels, and nothing is scored
  std::shared_ptr<const std::vector<Sample>> samples;
  std::function<Score(const Answers&)> score;
  /// Writes the submission, as Benchmark::submission says; empty where there is none. UserError for a missing answer
  /// and a target that cannot be written.
  std::function<void(const Answers&, const fs::path& target)> submit;
  /// What an answer record's question is known by, as question_key(sample). Made fresh for each file: where questions
  /// repeat, it counts lines.
  std::function<KeyOf()> key_of;
};

/// What the paired bootstrap of two models' answers draws.
struct Resampling {
  std::string unit = "questions";  // in the plural: what Score::units numbers
  bool by_category = false;        // drawn within each Sample::category, for categories whose sizes are fixed
  /// The sums behind the scores, of which each resample's are worked out anew; they must give what the metric gives.
  /// Null: mean_sums.
  ScoreSums (*sums)(const OpenBenchmark& benchmark, const Answers& answers, const Score& score) = nullptr;
};

enum class Submission { None, File, Folder };

/// The benchmark's task in lmms-eval.
struct LmmsForm {
  std::string task, unlabelled_task;  // "": as the benchmark's name, and as the task
  /// Adds the metric to the line of a sample. Null: exact_match.
  void (*add_to_sample)(const OpenBenchmark& benchmark, const Sample& sample, const std::string& answer, double value,
                        Json& line) = nullptr;
  /// Adds the metrics to the results, each as "NAME,none". Null: exact_match.
  void (*add_to_results)(const OpenBenchmark& benchmark, const Score& score, Json& metrics) = nullptr;
};

struct Benchmark {
  std::string name;
  std::vector<Protocol> protocols = {Protocol{}};  // the first is the default
  std::vector<std::string> rules;  // that turn answers into letters; the first is the default; empty: none to choose
  std::string headline;            // what the score is
  bool points = false;             // its scores are points, not fractions
  bool folder_of_questions =
      false;  // the folder of images (or annotations) has the questions: a question file may lack
  /// Reads the files and fills `samples` and `score`, with a submission `submit`, and where neither question_id nor
  /// Sample::repeat tells questions apart `key_of`. `into` holds the resolved names already. UserError for what is
  /// wrong with a file.
  void (*open)(const BenchmarkSource& source, OpenBenchmark& into) = nullptr;
  Resampling resampling;
  Submission submission = Submission::None;
  LmmsForm lmms;
  std::vector<std::string> table_leaves_out;  // ends of categories' names that `yopo run` does not print
  std::vector<PublishedScore> published;
};

/// The registered benchmark of this name: UserError with the nearest known one.
const Benchmark& benchmark_named(const std::string& name);
/// The name of the benchmark where none is given.
const std::string& default_benchmark();
/// The names of all, and of a benchmark's protocols, in their order.
std::vector<std::string> benchmark_names();
std::vector<std::string> protocol_names(const Benchmark& benchmark);

/// Whether the dataset names questions: a file of them, or the folder that holds them.
bool has_questions(const Benchmark& benchmark, const DatasetOptions& dataset);
/// A value of Score::values in a JSON file: null where the question is not scored.
Json value_json(double value);
/// Whether the table of `yopo run` has a row for the category.
bool in_table(const Benchmark& benchmark, const std::string& category);

}  // namespace yopo
