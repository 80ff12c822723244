// The sampler against a plain computation: all probabilities, sorted and summed one by one.
#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"

namespace yopo {
namespace {

using runtime::choose_token;
using runtime::Sampling;

/// The probability of each token that may be drawn.
std::map<int64_t, double> plain_probabilities(const std::vector<float>& logits, const Sampling& sampling) {
  std::vector<std::pair<double, int64_t>> order;  // minus the logit, id: most probable first, ties by id
  for (size_t i = 0; i < logits.size(); ++i) order.emplace_back(-double(logits[i]), int64_t(i));
  std::sort(order.begin(), order.end());
  if (sampling.top_k > 0) order.resize(std::min(order.size(), size_t(sampling.top_k)));
  double total = 0;
  for (const auto& [minus, id] : order) total += std::exp((-minus + order[0].first) / sampling.temperature);
  std::map<int64_t, double> kept;
  double reached = 0;
  for (const auto& [minus, id] : order) {
    if (reached >= sampling.top_p) break;
    reached += kept[id] = std::exp((-minus + order[0].first) / sampling.temperature) / total;
  }
  for (auto& [id, probability] : kept) probability /= reached;
  return kept;
}

std::vector<float> drawn_logits(std::mt19937& random, size_t count) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

TEST(Sampler, DrawsWhatThePlainComputationDraws) {
  std::mt19937 random(5);
  for (const Sampling& base : {Sampling{0.7, 0, 1, 0}, Sampling{1, 5, 1, 1}, Sampling{1.3, 0, 0.8, 2},
                               Sampling{2, 7, 0.6, 3}, Sampling{0.2, 1000, 0.999, 4}}) {
    const std::vector<float> logits = drawn_logits(random, 40);
    const std::map<int64_t, double> expected = plain_probabilities(logits, base);
    for (uint64_t place = 0; place < 500; ++place) {
      // The token in whose part of [0, 1) the place's number is, tokens by id.
      double left = uniform(base.seed, place);
      int64_t token = -1;
      for (const auto& [id, probability] : expected) {
        token = id;
        if ((left -= probability) < 0) break;
      }
      ASSERT_EQ(choose_token(logits, base, place, 0), token) << base.seed << " at " << place;
    }
  }
}

TEST(Sampler, FrequenciesAreTheProbabilities) {
  const std::vector<float> logits = {0, 1, 2, 3, -1, 2};
  const Sampling sampling{1.5, 5, 0.9, 77};
  const std::map<int64_t, double> expected = plain_probabilities(logits, sampling);
  ASSERT_EQ(expected.size(), 4u);
  constexpr int draws = 40'000;
  std::map<int64_t, int> counts;
  for (uint64_t place = 0; place < draws; ++place) ++counts[choose_token(logits, sampling, place, 0)];
  EXPECT_EQ(counts.size(), expected.size());
  for (const auto& [id, probability] : expected) {
    const double deviation = std::sqrt(draws * probability * (1 - probability));
    EXPECT_LT(std::abs(counts[id] - draws * probability), 5 * deviation) << id;
  }
}

TEST(Sampler, GreedyTakesTheLowestOfTheLargest) {
  const std::vector<float> logits = {1, 4, 4, -INFINITY, 3};
  EXPECT_EQ(choose_token(logits, {}, 9, 0), 1);
  EXPECT_EQ(choose_token(logits, {1, 1, 1, 3}, 9, 0), 1);
  for (uint64_t place = 0; place < 50; ++place) {
    EXPECT_EQ(choose_token(logits, {1e-3, 0, 0.4, 3}, place, 0), 1) << "the first alone reaches top_p";
    EXPECT_NE(choose_token(logits, {1e6, 0, 1, 3}, place, 0), 3) << "impossible stays impossible";
  }
}

TEST(Sampler, NumbersDependOnSeedAndPlaceOnly) {
  std::set<double> seen;
  double sum = 0;
  for (uint64_t seed = 0; seed < 30; ++seed)
    for (uint64_t place = 0; place < 300; ++place) {
      const double x = uniform(seed, place);
      EXPECT_TRUE(x >= 0 && x < 1);
      EXPECT_EQ(x, uniform(seed, place));
      seen.insert(x);
      sum += x;
    }
  EXPECT_EQ(seen.size(), 9000u) << "sequences of neighbouring seeds are not shifted copies";
  EXPECT_NEAR(sum / 9000, 0.5, 0.02);
}

TEST(Sampler, RefusesWhatIsOutOfRange) {
  const auto message = [](const Sampling& sampling) -> std::string {
    try {
      runtime::check_sampling(sampling);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({1, 50, 0.9, 1}), "");
  EXPECT_TRUE(message({-1, 0, 1, 0}).starts_with("temperature"));
  EXPECT_TRUE(message({NAN, 0, 1, 0}).starts_with("temperature"));
  EXPECT_TRUE(message({1, -2, 1, 0}).starts_with("top_k"));
  for (const double p : {0.0, -1.0, 1.5, double(NAN)}) EXPECT_TRUE(message({1, 0, p, 0}).starts_with("top_p")) << p;
  for (const double temperature : {0.0, 1.0}) {
    const Sampling sampling{temperature, 0, 1, 0};
    EXPECT_THROW(choose_token(std::vector<float>{1, NAN}, sampling, 0, 3), UserError);
    EXPECT_THROW(choose_token(std::vector<float>{1, INFINITY}, sampling, 0, 3), UserError);
    EXPECT_THROW(choose_token(std::vector<float>{-INFINITY, -INFINITY}, sampling, 0, 3), UserError);
  }
}

// A request draws the same tokens alone and in a batch; each is heard when it is chosen, and the listener may end it.
TEST(Sampler, BatchesAreHeardTokenByToken) {
  std::mt19937 random(8);
  ModelSpec spec = testing::small_spec();
  spec.eos_token_ids = {};
  const runtime::Engine engine(spec, dense_plan(spec.text), testing::on_device(), 4);
  std::vector<ModelInput> inputs;
  for (const int64_t images : {0, 2, 1}) inputs.push_back(testing::drawn_input(spec.text, random, images));
  runtime::GenerateOptions options;
  options.max_new_tokens = 12;
  options.sampling = {50, 0, 1, 6};
  std::vector<std::vector<int64_t>> heard(inputs.size());
  options.chosen = [&](int64_t request, int64_t token) {
    heard[size_t(request)].push_back(token);
    return request != 1 || heard[1].size() < 4;
  };
  const std::vector<runtime::Generated> batch = engine.generate(inputs, options);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(batch[i].tokens, heard[i]);
    EXPECT_EQ(batch[i].tokens.size(), i == 1 ? 4u : 12u);
    EXPECT_FALSE(batch[i].stopped);
    runtime::GenerateOptions alone = options;
    alone.chosen = {};
    std::vector<int64_t> tokens = engine.generate({inputs[i]}, alone)[0].tokens;
    tokens.resize(batch[i].tokens.size());
    EXPECT_EQ(tokens, batch[i].tokens);
    alone.sampling.seed = 7;
    EXPECT_NE(engine.generate({inputs[i]}, alone)[0].tokens, batch[i].tokens);
  }
  options.sampling.top_p = 0;
  EXPECT_THROW(engine.generate(inputs, options), UserError);
}

}  // namespace
}  // namespace yopo
