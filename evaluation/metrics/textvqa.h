// TextVQA: soft accuracy after EvalAI's normaliser on both sides.
#pragma once

#include "datasets/benchmarks/textvqa.h"
#include "evaluation/metrics/score.h"

namespace yopo {

/// Headline: the mean of vqa_score (evaluation/vqa.h) over the questions. Detail: how many had OCR tokens.
Score score_textvqa(const TextVqa& data, const Answers& answers);

}  // namespace yopo
