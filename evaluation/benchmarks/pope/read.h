// POPE: LLaVA's question file and the labels of coco_pope_{split}.json.
#pragma once

#include "evaluation/benchmarks/files.h"

namespace yopo {

struct PopeQuestion {
  bool yes = false;  // the label
};

struct Pope {
  std::vector<Sample> samples;          // category: the split; answers: the label
  std::vector<PopeQuestion> questions;  // of the samples
};

/// annotations: the folder of coco_pope_*.json, or those files (JSON lines {label}). A split's labels belong to its
/// questions in order. UserError naming file and line for a split of the one without the other, for another number of
/// labels than questions, and for a label that is neither yes nor no.
Pope read_pope(const BenchmarkSource& source);

}  // namespace yopo
