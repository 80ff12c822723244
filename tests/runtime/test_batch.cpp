// Batches of different requests against each request alone, and greedy generation.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

using runtime::Engine;
using testing::close_relative;

std::vector<float> row(const std::vector<float>& logits, int64_t request, int64_t vocab) {
  return {logits.begin() + request * vocab, logits.begin() + (request + 1) * vocab};
}

/// `count` requests with none to `kinds` - 1 images by turns.
std::vector<ModelInput> drawn_inputs(const DecoderSpec& spec, std::mt19937& random, int64_t count, int64_t kinds) {
  std::vector<ModelInput> inputs;
  for (int64_t i = 0; i < count; ++i) inputs.push_back(testing::drawn_input(spec, random, i % kinds));
  return inputs;
}

TEST(Batch, EachRequestAsIfAlone) {
  std::mt19937 random(21);
  const ModelSpec spec = testing::small_spec();
  const int64_t vocab = spec.text.vocab_size;
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(round);
    const Engine engine(spec, testing::drawn_plan(spec.text, random), testing::on_device(), 4);
    std::vector<ModelInput> inputs;
    for (const int64_t images : {0, 2, 1, 0, 3, 1, 1})
      inputs.push_back(testing::drawn_input(spec.text, random, images));
    engine.counters() = {};
    const auto session = engine.prefill(inputs, 3);
    std::vector<int64_t> tokens(inputs.size());
    Cost promised;
    int64_t bytes = 0;
    for (size_t i = 0; i < inputs.size(); ++i) {
      promised += prefill_cost(engine.plan(), spec.text, shape_of(inputs[i]));
      bytes += kv_bytes(engine.plan(), spec.text, shape_of(inputs[i]), 0, 4);
      tokens[i] = int64_t(random() % uint64_t(vocab));
    }
    EXPECT_EQ(engine.counters().prefill, promised);
    EXPECT_EQ(engine.counters().kv_bytes, bytes);
    const auto prefill = std::vector<float>(engine.logits(*session));  // decoding writes over the session's
    // Some requests decode in one step, some in another order, one not at all.
    engine.decode(*session, {1, 0, 4}, {tokens[1], tokens[0], tokens[4]});
    engine.decode(*session, {4, 5, 2, 3, 1}, {7, tokens[5], tokens[2], tokens[3], 9});
    const std::vector<float>& decoded = engine.logits(*session);
    for (int64_t i = 0; i < int64_t(inputs.size()); ++i) {
      SCOPED_TRACE(i);
      const auto alone = engine.prefill({inputs[size_t(i)]}, 2);
      EXPECT_TRUE(close_relative(row(prefill, i, vocab), engine.logits(*alone), 1e-5));
      if (i < 6) engine.decode(*alone, {0}, {tokens[size_t(i)]});
      if (i == 4 || i == 1) engine.decode(*alone, {0}, {i == 4 ? 7 : 9});
      EXPECT_TRUE(close_relative(row(decoded, i, vocab), engine.logits(*alone), 1e-5));
    }
  }
}

// A traced batch: the same texts, the logits that choose them, and everything counted.
TEST(Batch, TracedTexts) {
  std::mt19937 random(26);
  ModelSpec spec = testing::small_spec();
  const Plan plan = testing::drawn_plan(spec.text, random);
  const std::vector<ModelInput> inputs = drawn_inputs(spec.text, random, 4, 3);
  constexpr int64_t limit = 6;
  spec.eos_token_ids = {Engine(spec, plan, testing::on_device(), 6).generate(inputs, limit)[1].tokens.at(3)};
  const Engine engine(spec, plan, testing::on_device(), 6);
  const std::vector<runtime::Generated> texts = engine.generate(inputs, limit);
  const double decode = engine.counters().decode.flops();
  ASSERT_TRUE(texts[1].stopped);
  engine.counters() = {};
  TraceOptions options;
  options.generate = limit;
  const std::vector<Trace> traces = engine.traces(inputs, options);
  Cost promised;
  for (const ModelInput& input : inputs) promised += prefill_cost(plan, spec.text, shape_of(input), input.length());
  EXPECT_EQ(engine.counters().prefill, promised);
  EXPECT_EQ(engine.counters().decode.flops(), decode);
  EXPECT_GT(engine.counters().kv_prompt_bytes, 0);
  EXPECT_EQ(engine.counters().kv_bytes, 0) << "every text has ended";
  const size_t vocab = size_t(spec.text.vocab_size);
  int64_t decoded = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(traces[i].generated, texts[i].tokens);
    EXPECT_EQ(traces[i].logits.size(), size_t(inputs[i].length()) * vocab);
    TraceOptions forced;
    forced.decode = texts[i].tokens;
    if (!texts[i].stopped) forced.decode.pop_back();
    const Trace alone = engine.trace(inputs[i], forced);
    EXPECT_TRUE(close_relative(traces[i].logits, alone.logits, 1e-5));
    EXPECT_EQ(traces[i].decode_logits.size(), forced.decode.size() * vocab);
    if (forced.decode.empty()) continue;  // the first token ended the text
    ++decoded;
    EXPECT_TRUE(close_relative(traces[i].decode_logits, alone.decode_logits, 1e-5));
  }
  EXPECT_GE(decoded, 2);
}

// Every layer of every walk is told of where the host computes, and a listener may end the call.
TEST(Batch, CallsTellHowFarTheyAreAndMayBeEnded) {
  std::mt19937 random(27);
  const ModelSpec spec = testing::small_spec();
  const std::vector<ModelInput> inputs{testing::drawn_input(spec.text, random, 1),
                                       testing::drawn_input(spec.text, random, 0)};
  runtime::Options given = testing::on_device();
  std::vector<double> shares;
  size_t last = 0;
  given.passing = [&](double share) {
    shares.push_back(share);
    if (shares.size() == last) throw UserError("enough");
  };
  const Engine engine(spec, testing::drawn_plan(spec.text, random), given, 6);
  TraceOptions options;
  options.decode = {1, 2};
  const std::vector<Trace> expected = engine.traces(inputs, options);
  engine.take_peak_bytes();
  engine.traces(inputs, options);
  const int64_t peak = engine.take_peak_bytes();
  shares.erase(shares.begin(), shares.begin() + std::ptrdiff_t(shares.size() / 2));
  const bool host = engine.counters().attention_seconds > 0;  // a device is only told what to do
  const size_t steps = host ? size_t(3 * spec.text.num_hidden_layers) : 0;
  ASSERT_EQ(shares.size(), steps);
  for (size_t i = 0; i < steps; ++i) EXPECT_DOUBLE_EQ(shares[i], double(i + 1) / double(steps));
  for (last = 1; last <= steps; ++last) {
    shares.clear();
    EXPECT_THROW(engine.traces(inputs, options), UserError) << last;
  }
  last = 0;
  engine.take_peak_bytes();
  const std::vector<Trace> again = engine.traces(inputs, options);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(again[i].logits, expected[i].logits);
    EXPECT_EQ(again[i].decode_logits, expected[i].decode_logits);
  }
  EXPECT_EQ(engine.take_peak_bytes(), peak) << "calls that ended early gave their memory back";

  // A step that was ended is taken again, and counts once.
  if (!host) return;
  const auto session = engine.prefill(inputs, 1);
  engine.counters() = {};
  shares.clear();
  last = 2;
  EXPECT_THROW(engine.decode(*session, {0, 1}, {1, 1}), UserError);
  last = 0;
  engine.decode(*session, {0, 1}, {1, 1});
  Cost promised;
  for (const ModelInput& input : inputs) promised += decode_cost(engine.plan(), spec.text, shape_of(input), 0);
  EXPECT_EQ(engine.counters().decode, promised);
}

// Sixteen requests of different lengths, image counts and answer lengths: logits after the prefill and after every
// step, and the texts, are those of each request alone.
TEST(Batch, SixteenDifferentRequests) {
  std::mt19937 random(25);
  ModelSpec spec = testing::small_spec();
  const Plan plan = testing::drawn_plan(spec.text, random);
  const std::vector<ModelInput> inputs = drawn_inputs(spec.text, random, 16, 4);
  constexpr int64_t limit = 12;
  {  // the end of sequence is a token that some answers reach early, some late and some never
    const Engine engine(spec, plan, testing::on_device(), 6);
    std::map<int64_t, std::set<size_t>> first_at;
    for (const runtime::Generated& answer : engine.generate(inputs, limit))
      for (const int64_t token : std::set<int64_t>(answer.tokens.begin(), answer.tokens.end()))
        first_at[token].insert(
            size_t(std::find(answer.tokens.begin(), answer.tokens.end(), token) - answer.tokens.begin()));
    spec.eos_token_ids = {std::max_element(first_at.begin(), first_at.end(), [](const auto& a, const auto& b) {
                            return a.second.size() < b.second.size();
                          })->first};
  }
  const Engine engine(spec, plan, testing::on_device(), 6);
  const std::vector<runtime::Generated> together = engine.generate(inputs, limit);
  std::set<size_t> lengths;
  for (size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE(i);
    const runtime::Generated alone = engine.generate({inputs[i]}, limit)[0];
    EXPECT_EQ(together[i].tokens, alone.tokens);
    EXPECT_EQ(together[i].stopped, alone.stopped);
    lengths.insert(alone.tokens.size());
  }
  EXPECT_GE(lengths.size(), 3u) << "answers of different lengths";

  const auto batch = engine.prefill(inputs, limit);
  std::vector<std::unique_ptr<runtime::Session, void (*)(runtime::Session*)>> singles;
  singles.reserve(inputs.size());
  for (const ModelInput& input : inputs) singles.push_back(engine.prefill({input}, limit));
  const int64_t vocab = spec.text.vocab_size;
  for (int64_t step = 0; step <= limit; ++step) {
    std::vector<int64_t> live, tokens;
    for (int64_t i = 0; i < 16; ++i) {
      EXPECT_TRUE(close_relative(row(engine.logits(*batch), i, vocab), engine.logits(*singles[size_t(i)]), 1e-5))
          << step << ", " << i;
      if (i + 2 * step >= 30 || step == limit) continue;  // requests leave one after another
      live.push_back(i);
      tokens.push_back((i * 7 + step) % vocab);
      engine.decode(*singles[size_t(i)], {0}, {tokens.back()});
    }
    engine.decode(*batch, live, tokens);
  }
}

TEST(Batch, SameBytesTwice) {
  std::mt19937 random(22);
  const ModelSpec spec = testing::small_spec();
  const Engine engine(spec, testing::drawn_plan(spec.text, random), testing::on_device(), 4);
  const ModelInput input = testing::drawn_input(spec.text, random, 2);
  EXPECT_EQ(engine.trace(input, {}).hidden, engine.trace(input, {}).hidden);
}

TEST(Generate, GreedyAndFinishedRequestsLeave) {
  std::mt19937 random(23);
  ModelSpec spec = testing::small_spec();
  std::vector<ModelInput> inputs;
  for (const int64_t images : {1, 0, 2}) inputs.push_back(testing::drawn_input(spec.text, random, images));
  const Plan plan = testing::drawn_plan(spec.text, random);
  const Engine free_engine(spec, plan, testing::on_device(), 6);
  const auto endless = free_engine.generate(inputs, 6);
  ASSERT_EQ(endless.size(), 3u);
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_EQ(endless[i].tokens.size(), 6u);
    EXPECT_FALSE(endless[i].stopped);
    // Each token is the largest logit after the ones before it.
    const auto session = free_engine.prefill({inputs[i]}, 6);
    for (const int64_t token : endless[i].tokens) {
      const std::vector<float>& logits = free_engine.logits(*session);
      EXPECT_EQ(token, std::max_element(logits.begin(), logits.end()) - logits.begin());
      free_engine.decode(*session, {0}, {token});
    }
  }
  // With the third token of request 0 as the end of sequence, everyone stops where it comes first.
  spec.eos_token_ids = {endless[0].tokens[2]};
  const Engine engine(spec, plan, testing::on_device(), 6);
  const auto stopped = engine.generate(inputs, 6);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto end = std::find(endless[i].tokens.begin(), endless[i].tokens.end(), spec.eos_token_ids[0]);
    EXPECT_EQ(stopped[i].tokens, std::vector<int64_t>(endless[i].tokens.begin(), end));
    EXPECT_EQ(stopped[i].stopped, end != endless[i].tokens.end());
  }
  EXPECT_TRUE(stopped[0].stopped);
  EXPECT_EQ(engine.counters().kv_bytes, 0) << "all requests have left";
  EXPECT_GT(engine.counters().kv_peak_bytes, 0);
  EXPECT_TRUE(engine.generate(inputs, 0)[1].tokens.empty());
}

TEST(Generate, TiesGoToTheLowestToken) {
  ModelSpec spec = testing::small_spec();
  spec.text.attention_bias = spec.text.output_bias = false;
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 6);
  ModelInput input;
  input.position_ids = {0};
  input.embeds.assign(size_t(spec.text.hidden_size), 0.0f);  // without biases every logit stays exactly zero
  EXPECT_EQ(engine.generate({input}, 1)[0].tokens, std::vector<int64_t>{0});
}

TEST(Batch, MemoryIsAccountedAndReturned) {
  std::mt19937 random(24);
  const ModelSpec spec = testing::small_spec();
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 6);
  const ModelInput input = testing::drawn_input(spec.text, random, 1);
  { const auto session = engine.prefill({input}, 0); }
  EXPECT_GT(engine.take_peak_bytes(), kv_bytes(engine.plan(), spec.text, shape_of(input), 0, 4));
  EXPECT_EQ(engine.take_peak_bytes(), 0) << "nothing is held once the session is gone";
}

}  // namespace
}  // namespace yopo
