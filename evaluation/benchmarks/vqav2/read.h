// VQAv2: LLaVA's or the official question file, and the official annotations.
#pragma once

#include "evaluation/benchmarks/files.h"

namespace yopo {

struct VqaV2Question {
  std::string answer_type;  // "yes/no", "number" or "other"; "" without annotations
};

/// A question of the full list that is not asked: it is answered with nothing.
struct VqaV2Unasked {
  std::string answer_type;
  std::vector<std::string> answers;  // ten
};

struct VqaV2 {
  std::vector<Sample> samples;           // answers: those of the ten annotators, as written; none without annotations
  std::vector<VqaV2Question> questions;  // of the samples
  std::vector<VqaV2Unasked> unasked;     // annotated, on the full list, not asked
  std::vector<std::pair<std::string, bool>> full_list;  // ids of the submission in order, and whether they are integers
  bool annotated = false;
};

/// questions: LLaVA's JSON lines, or the official {data_subtype, questions: [{question_id, image_id, question}]}, whose
/// images are named COCO_{subtype}_{image_id, 12 digits}.jpg. annotations: the official {annotations: [{question_id,
/// answer_type, answers: [{answer}] * 10}]}, the full list as JSON lines {question_id}, both, or none. Annotations of
/// questions neither asked nor listed are left out. UserError naming file and place for a question asked without
/// annotation or not listed, and for a label outside its set.
VqaV2 read_vqav2(const BenchmarkSource& source);

}  // namespace yopo
