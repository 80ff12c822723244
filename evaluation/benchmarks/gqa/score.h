// GQA: exact equality with the annotated answer.
#pragma once

#include <string_view>

#include "evaluation/benchmarks/gqa/read.h"
#include "evaluation/benchmarks/score.h"

namespace yopo {

/// Protocol llava: trailing dots go, lower case, and the rest must equal the annotation as it stands. Protocol lmms:
/// lower case and no ASCII punctuation on both sides. Only balanced questions count. Headline: accuracy; categories:
/// binary, open.
Score score_gqa(const Gqa& data, const Answers& answers, std::string_view protocol);

}  // namespace yopo
