// Greedy decoding of a batch.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "runtime/state.h"

namespace yopo::runtime {
namespace {

/// The lowest index of the largest logit. UserError if there is none: weights or input hold NaN.
int64_t best_token(const float* logits, int64_t vocab, size_t request) {
  const int64_t best = std::max_element(logits, logits + vocab) - logits;
  require(std::isfinite(logits[best]) && std::none_of(logits, logits + vocab, [](float x) { return std::isnan(x); }),
          "request {}: the logits are not finite; does the checkpoint hold NaN or Inf?", request);
  return best;
}

}  // namespace

std::vector<Generated> Engine::generate(const std::vector<ModelInput>& inputs, int64_t max_new_tokens) const {
  require(max_new_tokens >= 0, "max_new_tokens: {} is negative", max_new_tokens);
  std::vector<Generated> results(inputs.size());
  if (inputs.empty() || max_new_tokens == 0) return results;
  const auto session = prefill(inputs, max_new_tokens - 1);
  return decode_greedily(*session, int64_t(inputs.size()), max_new_tokens);
}

std::vector<Generated> Engine::decode_greedily(Session& session, int64_t requests, int64_t max_new_tokens,
                                               const std::function<void(int64_t)>& decoded) const {
  ensure(max_new_tokens > 0, "a text of at least one token");
  std::vector<Generated> results(static_cast<size_t>(requests));
  const std::vector<int64_t>& eos = spec().eos_token_ids;
  const int64_t vocab = spec().text.vocab_size;
  std::vector<int64_t> live(static_cast<size_t>(requests));
  std::iota(live.begin(), live.end(), int64_t(0));
  while (true) {
    std::vector<int64_t> next, tokens;
    for (const int64_t request : live) {
      Generated& result = results[size_t(request)];
      const int64_t token = best_token(session.logits.data() + request * vocab, vocab, size_t(request));
      result.stopped = std::find(eos.begin(), eos.end(), token) != eos.end();
      if (!result.stopped) result.tokens.push_back(token);
      if (result.stopped || int64_t(result.tokens.size()) == max_new_tokens) {
        release(session, request);
      } else {
        next.push_back(request);
        tokens.push_back(token);
      }
    }
    if (next.empty()) return results;
    decode(session, next, tokens);
    if (decoded)
      for (const int64_t request : next) decoded(request);
    live = std::move(next);
  }
}

}  // namespace yopo::runtime
