// Decoding of a batch, token by token.
#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "runtime/state.h"

namespace yopo::runtime {

std::vector<Generated> Engine::generate(const std::vector<ModelInput>& inputs, int64_t max_new_tokens) const {
  return generate(inputs, GenerateOptions{.max_new_tokens = max_new_tokens});
}

std::vector<Generated> Engine::generate(const std::vector<ModelInput>& inputs, const GenerateOptions& options) const {
  require(options.max_new_tokens >= 0, "max_new_tokens: {} is negative", options.max_new_tokens);
  check_sampling(options.sampling);
  if (inputs.empty() || options.max_new_tokens == 0) return std::vector<Generated>(inputs.size());
  const auto session = prefill(inputs, options.max_new_tokens - 1);
  return generate(*session, options);
}

std::vector<Generated> Engine::generate(Session& session, const GenerateOptions& options) const {
  ensure(options.max_new_tokens > 0, "a text of at least one token");
  std::vector<Generated> results(session.requests.size());
  const std::vector<int64_t>& eos = spec().eos_token_ids;
  const size_t vocab = size_t(spec().text.vocab_size);
  std::vector<int64_t> live(results.size());
  std::iota(live.begin(), live.end(), int64_t(0));
  while (true) {
    std::vector<int64_t> next, tokens;
    for (const int64_t request : live) {
      Generated& result = results[size_t(request)];
      const std::span<const float> logits(session.logits.data() + size_t(request) * vocab, vocab);
      const int64_t token = choose_token(logits, options.sampling, result.tokens.size(), request);
      result.stopped = std::find(eos.begin(), eos.end(), token) != eos.end();
      if (!result.stopped) result.tokens.push_back(token);
      const bool ended = !result.stopped && options.chosen && !options.chosen(request, token);
      if (result.stopped || ended || int64_t(result.tokens.size()) == options.max_new_tokens) {
        release(session, request);
      } else {
        next.push_back(request);
        tokens.push_back(token);
      }
    }
    if (next.empty()) return results;
    decode(session, next, tokens);
    if (options.decoded)
      for (const int64_t request : next) options.decoded(request);
    live = std::move(next);
  }
}

}  // namespace yopo::runtime
