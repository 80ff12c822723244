// VQAv2: EvalAI on the model's answer, then the official scorer; or lmms-eval's.
#pragma once

#include "evaluation/benchmarks/score.h"
#include "evaluation/benchmarks/vqav2/read.h"

namespace yopo {

/// Protocol llava: the published path; lmms: vqa_lmms_score. Headline: the mean over all annotated questions;
/// categories: the means of the answer types. Questions of the full list that were not asked are answered with nothing.
/// Without annotations: not scored.
Score score_vqav2(const VqaV2& data, const Answers& answers, std::string_view protocol = "llava");

}  // namespace yopo
