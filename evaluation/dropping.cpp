#include "evaluation/dropping.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/random.h"

namespace yopo {
namespace {

uint64_t number_of(const std::string& key) {
  uint64_t number = 0;
  for (const char c : key) number = mix64(number ^ uint8_t(c));
  return number;
}

/// The `count` rows of the highest scores, ties to the lower row.
std::vector<int64_t> best(const std::vector<double>& scores, int64_t count) {
  std::vector<int64_t> rows(scores.size());
  std::iota(rows.begin(), rows.end(), int64_t(0));
  std::stable_sort(rows.begin(), rows.end(),
                   [&](int64_t a, int64_t b) { return scores[size_t(a)] > scores[size_t(b)]; });
  rows.resize(size_t(count));
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

std::string Dropping::text() const {
  return fmt::format("drop by {} keep {} from layer {} seed {}", int(by), share, from_layer, seed);
}

int64_t kept_count(const Dropping& dropping, int64_t visual) {
  return std::clamp<int64_t>(int64_t(std::floor(dropping.share * double(visual) + 1e-9)), 0, visual);
}

void drop_tokens(const runtime::Engine& engine, const Dropping& dropping, const std::vector<std::string>& keys,
                 std::vector<ModelInput>& inputs) {
  ensure(keys.size() == inputs.size(), "a key a question");
  std::vector<std::vector<float>> attention;
  if (dropping.by == Dropping::By::Attention) {
    require(dropping.from_layer > 0, "dropping by attention: a layer must run before");
    attention = engine.last_row_attention(inputs, dropping.from_layer - 1);
  } else if (dropping.by == Dropping::By::Class) {
    attention = engine.class_attention(inputs);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int64_t visual = inputs[i].visual_tokens(), count = kept_count(dropping, visual);
    KeptRows kept{dropping.from_layer, {}};
    if (dropping.by == Dropping::By::Grid) {
      for (int64_t k = 0; k < count; ++k) kept.rows.push_back((2 * k + 1) * visual / (2 * count));
    } else {
      std::vector<double> scores;
      const uint64_t stream = mix64(dropping.seed) ^ number_of(keys[i]);
      for (int64_t row = 0; row < visual; ++row)
        scores.push_back(dropping.by == Dropping::By::Random ? uniform(stream, uint64_t(row))
                                                             : double(attention[i][size_t(row)]));
      kept.rows = best(scores, count);
    }
    inputs[i].kept = std::move(kept);
  }
}

}  // namespace yopo
