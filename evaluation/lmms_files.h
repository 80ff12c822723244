// Results and samples as lmms-eval leaves them, for tools that read those.
#pragma once

#include "core/json.h"
#include "evaluation/benchmarks/open.h"

namespace yopo {

struct LmmsRun {
  std::string date;   // the files' prefix, such as 20260131_235959: letters, digits, "_", "-" and "."
  std::string model;  // as named in the results
  int64_t batch_size = 1;
};

/// The task's name in lmms-eval, which may be another one without labels: as the benchmark's record says (LmmsForm).
std::string lmms_task(const OpenBenchmark& benchmark, const Score& score);

/// UserError unless a file's name may start with this date.
void check_lmms_date(const std::string& date);

/// Writes `folder/<date>_results.json` and `folder/<date>_samples_<task>.jsonl`.
/// A line of samples: doc_id (the question's number from 0), target, input, filtered_resps, doc_hash (of our own: id,
/// prompt and expected answers), question_id, and the metric as lmms-eval's task gives it (LmmsForm): exact_match, or
/// what the record adds. What has no score is null.
/// results.json: {results: {task: {metric,none: value}}, n-samples, configs, config, date, task_hashes}; our own
/// headline and categories stand with lmms-eval's metrics (`headline,none`, `NAME,none`). UserError for a date of
/// another form, and as the metric says.
void write_lmms_files(const OpenBenchmark& benchmark, const Answers& answers, const LmmsRun& run,
                      const fs::path& folder);

}  // namespace yopo
