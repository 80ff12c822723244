// Answer normalisation and accuracy of plain question files (benchmark `vqa`).
#pragma once

#include <map>
#include <string>
#include <vector>

namespace yopo {

/// Answers that VQAv2 and TextVQA have of each question.
inline constexpr size_t kAnnotators = 10;

/// The EvalAI answer normaliser that LLaVA's evaluation applies, quirk for quirk (lower-case, drop "," and
/// "?", "'s" to " 's", punctuation pass, number words, articles, contractions; the mistyped look-behind of the period
/// pattern and its 32-removal limit).
std::string evalai_normalize(const std::string& answer);

/// The normaliser of the official VQA scorer, quirk for quirk (none of EvalAI's first three steps; a comma
/// between digits anywhere makes all punctuation be deleted instead of spaced; lower-casing comes after the
/// punctuation).
std::string vqa_official_normalize(const std::string& answer);

/// The official scorer over ten annotators: the mean of min(1, matches among the other nine / 3). Both sides are
/// normalised when the annotators disagree; else newline and tab become spaces and the ends are stripped.
double vqa_official_score(const std::string& answer, const std::vector<std::string>& expected);

/// lmms-eval's scorer over ten annotators: the same mean, but both sides are always normalised, by the official
/// scorer's passes with EvalAI's comma rule (a run of commas between digits anywhere deletes all punctuation).
double vqa_lmms_score(const std::string& answer, const std::vector<std::string>& expected);

/// Share of the answers that match: one expected answer: 1 if equal after normalisation; ten: the mean over the
/// annotators of min(1, matches among the other nine / 3).
double vqa_score(const std::string& answer, const std::vector<std::string>& expected);

}  // namespace yopo
