// What a search is judged by: calibration prompts with the dense model's own answers, ready for the runtime.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/sample.h"
#include "models/input.h"
#include "models/prompt.h"
#include "runtime/engine.h"

namespace yopo {

/// One prompt with the answer that the dense model gives it. Logits of the last `answer` rows of `input` are those of
/// the answer's tokens.
struct JudgedSample {
  ModelInput input;     // embeddings of prompt and answer; the last token of the answer is not among them
  int64_t answer = 0;   // rows
  int64_t picture = 0;  // which of the pictures it is about: samples of one have the same images
  std::string where;    // for messages
};

/// Every picture with at least `questions` questions, those of other pictures behind its own: the dense model answers
/// any, and nobody needs to know the answer. Samples without images are left out; none is asked twice of a picture.
std::vector<Sample> recombined(const std::vector<Sample>& samples, int64_t questions);

/// Prompts of samples with images, in an order in which those of one picture are neighbours. The dense `engine` answers
/// each with at most `max_new_tokens` tokens; what ends the text is one of them. UserError as Processor::prepare.
std::vector<JudgedSample> judged_samples(const runtime::Engine& engine, const Processor& processor,
                                         const std::vector<Sample>& samples, int64_t max_new_tokens);

/// The input without what follows its last picture.
ModelInput up_to_last_picture(const ModelInput& input, int64_t hidden_size);

}  // namespace yopo
