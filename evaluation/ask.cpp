#include "evaluation/ask.h"

#include <utility>

namespace yopo {

std::vector<runtime::Generated> ask(const runtime::Engine& engine, const std::vector<ModelInput>& inputs,
                                    int64_t max_new_tokens) {
  if (max_new_tokens < 2 * kShortTokens) return engine.generate(inputs, max_new_tokens);
  std::vector<runtime::Generated> answers = engine.generate(inputs, kShortTokens);
  std::vector<ModelInput> longer;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (!answers[i].stopped) longer.push_back(inputs[i]);
  if (longer.empty()) return answers;
  std::vector<runtime::Generated> again = engine.generate(longer, max_new_tokens);
  for (size_t i = 0, k = 0; i < inputs.size(); ++i)
    if (!answers[i].stopped) answers[i] = std::move(again[k++]);
  return answers;
}

}  // namespace yopo
