// POPE: yes or no, as precision, recall and F1 of each split.
#pragma once

#include <string_view>

#include "evaluation/benchmarks/pope/read.h"
#include "evaluation/benchmarks/score.h"

namespace yopo {

enum class YesNo { Yes, No, Neither };

/// Protocol llava: among the words (split at U+0020) of the text before the first dot, commas dropped, one of No, no,
/// not makes it no, else it is yes. Protocol lmms: the answer, lower-case and stripped, is yes or no, else neither.
YesNo pope_answer(const std::string& answer, std::string_view protocol);

/// Headline: the mean of the splits' F1; categories: SPLIT/accuracy, /precision, /recall, /f1, /yes_ratio; details: the
/// counts. A ratio without denominator is 0. Protocol lmms: only an answer no is a miss in the recall, the yes-ratio is
/// the labels'.
Score score_pope(const Pope& data, const Answers& answers, std::string_view protocol);

}  // namespace yopo
