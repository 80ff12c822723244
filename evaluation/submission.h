// The file that a benchmark's own server or script takes.
#pragma once

#include "evaluation/benchmarks/registry.h"

namespace yopo {

/// UserError for a benchmark that takes no file.
void check_submission(const std::string& benchmark);

/// Writes the answers to all questions as the benchmark takes them; the same answers give the same bytes.
/// vqav2: JSON [{question_id, answer}], answers EvalAI-normalised, in the order of the full list (of the questions
/// where
///   none is given); listed questions that were not asked get "".
/// gqa: JSON [{questionId, prediction}], predictions without trailing dots and in lower case.
/// mme: a folder of {category}.txt, lines `image.txt\tquestion\tlabel\tanswer` of questions as the folder has them;
///   tabs and line ends inside an answer become spaces.
/// mmbench: xlsx of the TSV's columns without hint, category, source, image, comment and l2-category, with `prediction`
///   as the seventh: what LLaVA's converter uploads. Rows that were not asked have no prediction.
/// UserError for a benchmark that takes no file, a missing answer, and a target that cannot be written.
void write_submission(const OpenBenchmark& benchmark, const DatasetOptions& dataset, const Answers& answers,
                      const fs::path& target);

}  // namespace yopo
