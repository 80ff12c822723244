// Answer files of one evaluation, made in parts, as one.
#pragma once

#include "evaluation/benchmarks.h"

namespace yopo {

/// Writes the answers of several files (JSON lines {question_id, text, ...}) as one, in the order of the questions, and
/// the fingerprint they share beside it: a run with the same settings takes the file for its own journal. Returns how
/// many answers there are. A question answered again in the same file: the last line counts, with a warning; in another
/// file it must have the same answer. UserError for no files, for files of different fingerprints or one with and one
/// without, for an answer to a question that is not asked, for a question with two answers (naming both lines) and for
/// questions that no file answers (naming them).
int64_t merge_answers(const std::vector<fs::path>& files, const OpenBenchmark& benchmark, const fs::path& target);

}  // namespace yopo
