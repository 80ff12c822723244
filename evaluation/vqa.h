// Answer normalisation and accuracy of plain question files (benchmark `vqa`).
#pragma once

#include <map>
#include <string>
#include <vector>

namespace yopo {

/// The EvalAI answer normaliser that LLaVA's evaluation applies, quirk for quirk (BENCHMARKS.md: lower-case, drop "," and
/// "?", "'s" to " 's", punctuation pass, number words, articles, contractions; the mistyped look-behind of the period
/// pattern and its 32-removal limit).
std::string evalai_normalize(const std::string& answer);

/// Share of the answers that match: one expected answer: 1 if equal after normalisation; ten: the mean over the annotators of
/// min(1, matches among the other nine / 3).
double vqa_score(const std::string& answer, const std::vector<std::string>& expected);

}  // namespace yopo
