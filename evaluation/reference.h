// Published scores to compare with.
#pragma once

#include <string>
#include <vector>

#include "models/spec.h"

namespace yopo {

struct ReferenceScore {
  std::string source;   // "LLaVA-1.5" (its authors' table) or "YOPO, Table 2" (arXiv 2410.06169)
  std::string setting;  // "dense", "YOPO 25 %" or "YOPO 12 %"
  double score = 0;     // a fraction in [0, 1], MME's points: the benchmark's headline
};

/// The models that there are published scores of.
const std::vector<std::string>& reference_models();

/// Which of them a checkpoint is by family and size of its language model: "llava-1.5-7b", "llava-1.5-13b" or "".
std::string reference_model(const ModelSpec& spec);

/// The published scores of a model on a benchmark, as many as there are: none for benchmark `vqa`. UserError naming the
/// nearest model for an unknown one.
std::vector<ReferenceScore> reference_scores(const std::string& model, const std::string& benchmark);

}  // namespace yopo
