// MME: accuracy and accuracy+ of each category, in points.
#pragma once

#include "evaluation/benchmarks/mme/read.h"
#include "evaluation/benchmarks/pope/score.h"

namespace yopo {

/// Lower-case: yes or no exactly, else whichever stands in the first four characters, yes before no, else neither.
/// Protocol lmms: the same of the stripped text without its dots, and y and n alone are yes and no.
YesNo mme_answer(const std::string& answer, std::string_view protocol = "llava");

/// A category has 100 accuracy + 100 accuracy+ (pairs with both right) points. Headline: the sum of the perception
/// categories; categories: every category, perception, cognition; details: hits, pairs and answers that are neither.
Score score_mme(const Mme& data, const Answers& answers, std::string_view protocol = "llava");

}  // namespace yopo
