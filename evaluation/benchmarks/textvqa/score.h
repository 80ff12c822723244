// TextVQA: soft accuracy after EvalAI's normaliser on both sides.
#pragma once

#include "evaluation/benchmarks/score.h"
#include "evaluation/benchmarks/textvqa/read.h"

namespace yopo {

/// Headline: the mean of vqa_score (evaluation/benchmarks/vqa_text.h) over the questions. Detail: how many had OCR
/// tokens.
Score score_textvqa(const TextVqa& data, const Answers& answers);

}  // namespace yopo
