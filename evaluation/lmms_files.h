// Results and samples as lmms-eval leaves them, for tools that read those.
#pragma once

#include "core/json.h"
#include "evaluation/benchmarks/registry.h"

namespace yopo {

struct LmmsRun {
  std::string date;   // the files' prefix, such as 20260131_235959: letters, digits, "_", "-" and "."
  std::string model;  // as named in the results
  int64_t batch_size = 1;
};

/// The task's name in lmms-eval: vqav2_val (without labels vqav2_test), gqa, scienceqa, textvqa_val, pope, mme,
/// mmbench_en_dev (without labels mmbench_en_test), and vqa for plain question files.
std::string lmms_task(const OpenBenchmark& benchmark, const Score& score);

/// UserError unless a file's name may start with this date.
void check_lmms_date(const std::string& date);

/// Writes `folder/<date>_results.json` and `folder/<date>_samples_<task>.jsonl`.
/// A line of samples: doc_id (the question's number from 0), target, input, filtered_resps, doc_hash (of our own: id,
/// prompt and expected answers), question_id, and the metric as lmms-eval's task gives it: exact_match; pope_accuracy
/// and its four fellows {question_id, score, prediction, ground_truth}; mme_perception_score or mme_cognition_score
/// {question_id, category, score}; gpt_eval_score {index, prediction, answer, category, score}. What has no score is
/// null.
/// results.json: {results: {task: {metric,none: value}}, n-samples, configs, config, date, task_hashes}. POPE's metrics
/// are, as there, of all splits together; MMBench's is in percent; our own headline and categories stand beside them
/// (`headline,none`, `NAME,none`). UserError for a date of another form, and as the metric says.
void write_lmms_files(const OpenBenchmark& benchmark, const Answers& answers, const LmmsRun& run,
                      const fs::path& folder);

}  // namespace yopo
