#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace yopo::runtime {
namespace {

/// The lowest index of the largest logit.
int64_t best_token(std::span<const float> logits, int64_t request) {
  const auto best = std::max_element(logits.begin(), logits.end());
  require(best != logits.end() && std::isfinite(*best) &&
              std::none_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); }),
          "request {}: the logits are not finite; does the checkpoint hold NaN or Inf?", request);
  return best - logits.begin();
}

/// The ids that top_k and top_p leave, ascending. weights [V]: not normalised.
std::vector<int64_t> candidates(std::span<const float> logits, const std::vector<double>& weights,
                                const Sampling& sampling) {
  std::vector<int64_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), int64_t(0));
  const auto more_probable = [&](int64_t a, int64_t b) {
    const float x = logits[size_t(a)], y = logits[size_t(b)];
    return x != y ? x > y : a < b;
  };
  if (sampling.top_k > 0 && sampling.top_k < int64_t(ids.size())) {
    std::nth_element(ids.begin(), ids.begin() + sampling.top_k, ids.end(), more_probable);
    ids.resize(size_t(sampling.top_k));
  }
  if (sampling.top_p < 1) {
    // Few tokens reach top_p: a heap finds them without sorting the vocabulary.
    const auto less_probable = [&](int64_t a, int64_t b) { return more_probable(b, a); };
    double total = 0, reached = 0;
    for (const int64_t id : ids) total += weights[size_t(id)];
    std::make_heap(ids.begin(), ids.end(), less_probable);
    auto rest = ids.end();
    while (rest != ids.begin() && reached < sampling.top_p * total) {
      std::pop_heap(ids.begin(), rest, less_probable);
      reached += weights[size_t(*--rest)];
    }
    ids.erase(ids.begin(), rest);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace

void check_sampling(const Sampling& sampling, std::string (*name)(std::string_view)) {
  const auto called = [&](std::string_view own) { return name ? name(own) : std::string(own); };
  require(sampling.temperature >= 0 && sampling.temperature <= 1e6, "{}: expected 0 (greedy) to 1e6, found {}",
          called("temperature"), sampling.temperature);
  require(sampling.top_k >= 0, "{}: expected 0 (all) or more, found {}", called("top_k"), sampling.top_k);
  require(sampling.top_p > 0 && sampling.top_p <= 1, "{}: expected a number above 0, at most 1, found {}",
          called("top_p"), sampling.top_p);
}

int64_t choose_token(std::span<const float> logits, const Sampling& sampling, uint64_t place, int64_t request) {
  const int64_t best = best_token(logits, request);
  if (sampling.temperature == 0 || sampling.top_k == 1) return best;
  std::vector<double> weights(logits.size());
  const double largest = logits[size_t(best)];
  for (size_t i = 0; i < logits.size(); ++i)
    weights[i] = std::exp((double(logits[i]) - largest) / sampling.temperature);
  const std::vector<int64_t> ids = candidates(logits, weights, sampling);
  double total = 0;
  for (const int64_t id : ids) total += weights[size_t(id)];
  double left = uniform(sampling.seed, place) * total;
  for (const int64_t id : ids) {
    left -= weights[size_t(id)];
    if (left < 0) return id;
  }
  return best;  // rounding left a remainder behind the last one
}

}  // namespace yopo::runtime
