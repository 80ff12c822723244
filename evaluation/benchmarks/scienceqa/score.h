// ScienceQA: the letter in the answer.
#pragma once

#include "evaluation/benchmarks/scienceqa/read.h"
#include "evaluation/benchmarks/score.h"

namespace yopo {

/// The letter an answer names, 0 if none: the answer is a letter A-E; or starts with one and ". "; or holds the pattern
/// `The answer is ([A-Z]).` exactly once, whose last dot is any one character but a newline. Nothing is stripped.
char scienceqa_letter(const std::string& answer);
/// lmms-eval's: of the stripped answer, a letter A-E in any case that is all of it, or a capital one before a dot.
char scienceqa_letter_lmms(const std::string& answer);

/// Headline and category IMG: accuracy of the answered questions with an image; total: accuracy of the whole split, in
/// which a missing answer is wrong. A letter beyond the choices (or beyond E) is wrong. Protocol lmms: its letter.
Score score_scienceqa(const ScienceQa& data, const Answers& answers, std::string_view protocol = "llava");

}  // namespace yopo
