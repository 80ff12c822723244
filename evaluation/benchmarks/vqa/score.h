// Accuracy of plain question files (benchmark `vqa`).
#pragma once

#include "evaluation/benchmarks/score.h"

namespace yopo {

/// UserError unless the question has one expected answer or those of ten annotators.
void check_expected(const Sample& sample);

/// vqa_score (evaluation/benchmarks/vqa_text.h) of every question; categories: the mean of each category of the file.
Score score_plain(const std::vector<Sample>& samples, const Answers& answers);

}  // namespace yopo
