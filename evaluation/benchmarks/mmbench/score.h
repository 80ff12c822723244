// MMBench: circular evaluation, with the rule that turns a free answer into a letter named.
#pragma once

#include <string_view>

#include "evaluation/benchmarks/mmbench/read.h"
#include "evaluation/benchmarks/score.h"

namespace yopo {

/// The rules' names; the first is the default.
const std::vector<std::string>& mmbench_rules();

/// The letter an answer names under a rule, 0 if none (Z: VLMEvalKit's refusal).
/// letter: the stripped answer is the letter of an option that was asked, or the label.
/// vlmevalkit: its exact matching without a judge. A phrase of refusal: Z. Of the words left when .()[],:;!*#{} are
///   spaces, exactly one is an option's letter and its first occurrence is among the last four words; or none is and Z
///   is one; or "answer is X" stands in the text; else, in an answer at most twice as long as all options, exactly one
///   option's text, lower-cased, stands in it.
/// lmms: lmms-eval's matching without its judge (mmbench_en_dev_static). Exactly one of A-E is a word (unless A is,
///   among more than three words), or is in one of twelve brackets and stops; else exactly one option's text of A-D,
///   lower-cased, stands in the answer; else the letter of A-D (of options that are there) in the most telling form:
///   at the start, at the end, behind a phrase such as "answer is", (A), A., A:, A), A and a space, anywhere; of
///   several in one form the last. Commas, stops, quotes and the like around the answer go before.
char mmbench_letter(const std::string& answer, const MmbenchQuestion& question, std::string_view rule);

/// A group is hit when every rotation is. Headline: the hit rate of the groups, which are what is counted; categories:
/// category/NAME and l2-category/NAME of the main rows. Without labels: not scored.
Score score_mmbench(const Mmbench& data, const Answers& answers, std::string_view rule);

}  // namespace yopo
