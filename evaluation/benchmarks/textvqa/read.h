// TextVQA: LLaVA's question file and TextVQA_0.5.1_val.json.
#pragma once

#include "evaluation/benchmarks/files.h"

namespace yopo {

struct TextVqa {
  std::vector<Sample> samples;  // answers: those of the ten annotators; key: image, question, and which of several
  int64_t with_ocr = 0;         // questions asked with OCR tokens
};

/// The question in a prompt of 2 lines, or of 3 with "Reference OCR token: ", lower-cased. UserError naming `where` for
/// another form.
std::string textvqa_question(std::string_view prompt, const std::string& where);

/// What an answer's question is known by: its image id (question_id) and its question, whatever the case.
std::string textvqa_key(std::string_view image_id, std::string_view lower_question);

/// annotations: {data: [{image_id, question, answers[10]}]}, joined on (image_id, lower-cased question); the last of a
/// repeated one counts. Protocol lmms asks without OCR tokens, the question as str.capitalize writes it. UserError
/// naming file and line for a question without annotation.
TextVqa read_textvqa(const BenchmarkSource& source);

}  // namespace yopo
