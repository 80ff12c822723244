// Answer files of one evaluation, made in parts, as one.
#pragma once

#include "evaluation/benchmarks/open.h"

namespace yopo {

/// Writes the answers of several files (JSON lines {question_id, text, ...}) as one, in the order of the questions, and
/// the fingerprint they share beside it: a run with the same settings takes the file for its own journal. Returns how
/// many answers there are. A question answered again in the same file: the last line counts, with a warning; in another
/// file it must have the same answer. Files that are shards of a run must be all of them, each once and whole: the
/// result is the file that one run over all questions would have written. UserError for no files, for files of
/// different fingerprints or one with and one without, for a shard that is missing, given twice, of another division or
/// unfinished (naming it), for an answer to a question that is not asked or of another shard, for a question with two
/// answers (naming both lines) and for questions that no file answers (naming them).
int64_t merge_answers(const std::vector<fs::path>& files, const OpenBenchmark& benchmark, const fs::path& target);

}  // namespace yopo
