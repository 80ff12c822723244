// The file that a benchmark's own server or script takes.
#pragma once

#include "evaluation/benchmarks/open.h"

namespace yopo {

/// UserError for a benchmark that takes none (naming those that do), and for a target that is there as the other of
/// file and folder.
void check_submission(const Benchmark& benchmark, const fs::path& target);

/// Writes the answers to all questions as the benchmark takes them (its record: Benchmark::submission); the same
/// answers give the same bytes. UserError as check_submission, for a missing answer, and for a target that cannot be
/// written.
void write_submission(const OpenBenchmark& benchmark, const Answers& answers, const fs::path& target);

}  // namespace yopo
