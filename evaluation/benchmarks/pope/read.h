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

/// annotations: the folder of coco_pope_*.json, or those files (JSON lines {image, text, label}). As many labels of a
/// split as questions belong to these in order; more are told by image and text; those of a split that is not asked are
/// left out. UserError naming file and line for a split without labels, for fewer labels than questions, for more that
/// cannot be told, and for a label that is neither yes nor no.
Pope read_pope(const BenchmarkSource& source);

}  // namespace yopo
