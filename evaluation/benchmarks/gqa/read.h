// GQA: LLaVA's question file and the official testdev_balanced_questions.json.
#pragma once

#include "evaluation/benchmarks/files.h"

namespace yopo {

struct GqaQuestion {
  bool balanced = true;  // only these are scored
  bool open = false;     // structural type "query"; every other is binary
};

struct Gqa {
  std::vector<Sample> samples;         // answers: the one annotated
  std::vector<GqaQuestion> questions;  // of the samples
};

/// annotations: {id: {answer, isBalanced, types: {structural}}}. Balanced questions that are not
/// asked are counted in a note. UserError naming file and place for a question without annotation, and a structural
/// type outside its set.
Gqa read_gqa(const BenchmarkSource& source);

}  // namespace yopo
