// Which prompts and pixels a checkpoint makes of a question: what was computed of others is not gone on with.
#pragma once

#include <string>

#include "models/spec.h"

namespace yopo {

struct PromptOptions;

/// The files and rules that questions and images become input by, as a fingerprint: the tokenizer, the chat template
/// unless `options` names one, the image rules and the tokens that end an answer. `options` themselves are not in it
/// (PromptOptions::text). UserError for a file that cannot be read.
std::string prompt_fingerprint(const OpenModel& model, const PromptOptions& options);

}  // namespace yopo
