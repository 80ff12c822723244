// What is timed: prompts and numbers with the scale of a trained model's. Values do not change a time, but for some
// machines, which spend less power on zeros and clock higher.
#pragma once

#include "models/input.h"
#include "models/spec.h"
#include "plans/cost.h"
#include "runtime/ops.h"

namespace yopo::runtime {

/// `visual` tokens on the grid nearest to a square, 35 text tokens before them (LLaVA's system prompt) and the rest of
/// `text` behind.
PromptShape square_prompt(int64_t visual, int64_t text);
/// Embeddings of such a prompt.
ModelInput random_input(const PromptShape& prompt, const ModelSpec& model, uint64_t seed);
/// A prompt of random pixels in pictures of about `visual` tokens, and `text` text tokens. UserError for models whose
/// images are cut into tiles of a canvas.
ModelInput pictured_input(ModelSpec model, int64_t visual, int64_t text, uint64_t seed);
/// Evenly from -0.5 to 0.5, always the same.
Buffer random_buffer(const Ops& ops, size_t elements, DType type);

}  // namespace yopo::runtime
