// ScienceQA: LLaVA's conversation file, problems.json and pid_splits.json.
#pragma once

#include "evaluation/benchmarks/files.h"

namespace yopo {

struct ScienceQaQuestion {
  int64_t choices = 0, answer = 0;  // how many, and which is right
  bool image = false;               // the prompt holds <image>
};

struct ScienceQa {
  std::vector<Sample> samples;               // answers: the letter
  std::vector<ScienceQaQuestion> questions;  // of the samples
  int64_t unasked = 0;  // questions of the split that the question file leaves out: wrong in the total
};

/// questions: [{id, image?, conversations: [{from: human, value}, ...]}]; asked is the first turn without <image>,
/// stripped, and the request for a letter; protocol lmms words it anew from the problem's hint, question and choices.
/// annotations: problems.json {id: {choices, answer}} and pid_splits.json
/// {test: [ids]}, or their folder. UserError naming file and place for a question that is no problem of the split test,
/// and for an answer outside its choices.
ScienceQa read_scienceqa(const BenchmarkSource& source);

}  // namespace yopo
