// Published scores to compare with, out of the benchmarks' records.
#pragma once

#include <string>
#include <vector>

#include "models/spec.h"

namespace yopo {

struct Benchmark;

struct ReferenceScore {
  std::string source, setting;  // as PublishedScore
  double score = 0;             // the benchmark's headline: a fraction in [0, 1], or points
};

/// The models that some benchmark has published scores of.
std::vector<std::string> reference_models();

/// Which of published_models() a checkpoint is, by the sizes of its tower and decoder; "": none.
std::string reference_model(const ModelSpec& spec);

/// The published scores of a model on a benchmark, as many as there are. UserError naming the nearest model for an
/// unknown one.
std::vector<ReferenceScore> reference_scores(const std::string& model, const Benchmark& benchmark);

}  // namespace yopo
