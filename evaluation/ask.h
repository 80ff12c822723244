// Greedy answers of a batch without room for tokens that never come.
#pragma once

#include <vector>

#include "models/input.h"
#include "runtime/engine.h"

namespace yopo {

/// Tokens that an answer is first given room for.
inline constexpr int64_t kShortTokens = 32;

/// What engine.generate(inputs, max_new_tokens) gives. A request's KV cache has room for all tokens that may come (1024
/// for MMBench), but nearly every answer is short: all are asked with little room, then those that go on, from the
/// beginning, with the whole room. Limits below twice the little room are asked at once.
std::vector<runtime::Generated> ask(const runtime::Engine& engine, const std::vector<ModelInput>& inputs,
                                    int64_t max_new_tokens);

}  // namespace yopo
