// Scores a checkpoint on a benchmark through the runtime: eval.json and answers.jsonl.
#pragma once

#include <optional>

#include "core/json.h"
#include "evaluation/benchmarks/open.h"
#include "evaluation/dropping.h"
#include "evaluation/shard.h"
#include "models/prompt.h"
#include "runtime/engine.h"

namespace yopo {

struct EvaluationResult {
  std::string benchmark, protocol, model;
  bool pruned = false;
  bool plan_known = true;  // false: ready answers, which do not say what gave them; `pruned` means nothing
  int64_t count = 0;
  double score = 0;
  std::vector<std::pair<std::string, double>> categories;  // sorted by name
  std::string rule;     // how answers became letters (MMBench); "": there is none to choose
  bool points = false;  // score and categories are points, not fractions (MME)
  bool scored = true;   // false: the benchmark has no labels here; the score is null
  std::vector<std::pair<std::string, int64_t>> details;  // counts behind the scores, sorted by name
  int64_t batch_size = 1;
  std::string budget = {};  // the one that ran, of a checkpoint with plans for several
  std::string shard;        // "2/3" where only that part of the questions was asked: then nothing is scored
  double seconds = 0;
  // Of them: in the model; making its inputs (images and tokens), in threads beside it; waiting for these; writing
  // answers.
  double seconds_model = 0, seconds_prepare = 0, seconds_waited = 0, seconds_journal = 0;
};
Json evaluation_to_json(const std::vector<EvaluationResult>& results);
std::vector<EvaluationResult> evaluation_from_json(const Json& json, const std::string& where);

struct EvaluationRun {
  EvaluateOptions options;
  std::string model;  // as named in the result
  bool pruned = false;
  fs::path answers;         // answers.jsonl: the journal; a killed run continues from it
  std::string fingerprint;  // of model, plan, prompt and protocol: another one's journal is refused (UserError)
  Shard shard;              // the part of the questions to ask
  std::optional<Dropping> dropping = {};  // visual tokens that the model does without; of the fingerprint, too
};
/// Asks every question of the shard that the journal has no answer to (in batches through the runtime, those about one
/// image together; coming images are prepared meanwhile), writes the journal as it goes, in the end in the order of the
/// questions, and scores where the shard is the whole.
EvaluationResult evaluate(const runtime::Engine& engine, const Processor& processor, const OpenBenchmark& benchmark,
                          const EvaluationRun& run);
/// The same without a model where the journal of this very run answers every question; nothing otherwise.
std::optional<EvaluationResult> finished_evaluation(const OpenBenchmark& benchmark, const EvaluationRun& run);
/// Scores ready answers, read or in a file (JSON lines {question_id, text}).
EvaluationResult score_answers(const OpenBenchmark& benchmark, const Answers& answers);
EvaluationResult score_answers(const OpenBenchmark& benchmark, const fs::path& answers);

}  // namespace yopo
