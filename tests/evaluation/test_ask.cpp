#include "evaluation/ask.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace yopo {
namespace {

constexpr int64_t kLimit = 3 * kShortTokens;

/// A small text model with random weights.
ModelSpec small_spec() {
  ModelSpec spec;
  DecoderSpec& s = spec.text;
  s.num_hidden_layers = 2, s.hidden_size = 32, s.num_attention_heads = 4, s.num_key_value_heads = 2, s.head_dim = 8;
  s.intermediate_size = 40, s.vocab_size = 61, s.max_position_embeddings = 512, s.attention_bias = true;
  spec.family = "llava", spec.layout = "llava-hf";
  spec.vision.image_size = 28, spec.vision.patch_size = 14;
  return spec;
}

std::vector<ModelInput> prompts() {
  std::vector<ModelInput> made;
  for (int64_t i = 0; i < 6; ++i) {
    ModelInput& input = made.emplace_back();
    for (int64_t k = 0; k < 3 + i; ++k) input.input_ids.push_back((7 * i + 11 * k) % 61);
    input.position_ids.resize(input.input_ids.size());
    std::iota(input.position_ids.begin(), input.position_ids.end(), int64_t(0));
  }
  return made;
}

void expect_same(const std::vector<runtime::Generated>& found, const std::vector<runtime::Generated>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].tokens, expected[i].tokens) << i;
    EXPECT_EQ(found[i].stopped, expected[i].stopped) << i;
  }
}

TEST(Ask, GivesWhatTheWholeRoomGives) {
  ModelSpec spec = small_spec();
  const std::vector<ModelInput> inputs = prompts();
  const runtime::Engine endless(spec, dense_plan(spec.text), {}, 5);
  const std::vector<runtime::Generated> all = endless.generate(inputs, kLimit);
  expect_same(ask(endless, inputs, kLimit), all);
  expect_same(ask(endless, inputs, kShortTokens), endless.generate(inputs, kShortTokens));
  expect_same(ask(endless, inputs, 1), endless.generate(inputs, 1));
  expect_same(ask(endless, inputs, 0), endless.generate(inputs, 0));
  // A token that ends some answers early and others not at all: only these are asked again.
  for (int64_t eos = 0; eos < spec.text.vocab_size; ++eos) {
    const auto ends = [&](const runtime::Generated& one) {
      return std::find(one.tokens.begin(), one.tokens.begin() + kShortTokens, eos) != one.tokens.begin() + kShortTokens;
    };
    const int64_t early = std::count_if(all.begin(), all.end(), ends);
    if (early == 0 || early == int64_t(all.size()) || ends(all[0])) continue;
    spec.eos_token_ids = {eos};
    const runtime::Engine engine(spec, dense_plan(spec.text), {}, 5);
    expect_same(ask(engine, inputs, kLimit), engine.generate(inputs, kLimit));
    return;
  }
  FAIL() << "no token ends some of the answers";
}

// A short answer's KV cache never had the room of the long ones.
TEST(Ask, SpendsNoRoomOnShortAnswers) {
  ModelSpec spec = small_spec();
  const std::vector<ModelInput> inputs{prompts()[0]};
  const runtime::Engine endless(spec, dense_plan(spec.text), {}, 5);
  spec.eos_token_ids = {endless.generate(inputs, 1)[0].tokens.at(0)};
  const runtime::Engine engine(spec, dense_plan(spec.text), {}, 5);
  engine.take_peak_bytes();
  EXPECT_TRUE(engine.generate(inputs, 20 * kShortTokens)[0].stopped);
  const int64_t whole = engine.take_peak_bytes();
  EXPECT_TRUE(ask(engine, inputs, 20 * kShortTokens)[0].stopped);
  EXPECT_LT(engine.take_peak_bytes(), whole / 4);
}

}  // namespace
}  // namespace yopo
