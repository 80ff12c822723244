// Requests that begin alike: what is shared, that nobody notices, and that it is computed and held once.
#include "runtime/shared_prefix.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

using runtime::Engine;
using runtime::shared_prefixes;
using runtime::SharedPrefix;
using testing::close_relative;

int64_t end_of_images(const ModelInput& input) { return input.spans.back().start + input.spans.back().count(); }

/// The input with other rows from token `from` on, and `tokens` of them.
ModelInput other_ending(const ModelInput& input, int64_t from, int64_t tokens, int64_t hidden, std::mt19937& random) {
  ModelInput other = input;
  other.position_ids.resize(size_t(from));
  other.embeds.resize(size_t(from * hidden));
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < tokens; ++i) other.position_ids.push_back(from + i);
  for (int64_t i = 0; i < tokens * hidden; ++i) other.embeds.push_back(normal(random));
  return other;
}

/// The prompt of a shared prefix alone: what need not be computed again.
PromptShape prefix_shape(const ModelInput& input, int64_t tokens) { return {tokens, input.spans}; }

std::vector<std::pair<int64_t, int64_t>> pairs_of(const std::vector<SharedPrefix>& shared) {
  std::vector<std::pair<int64_t, int64_t>> pairs;
  pairs.reserve(shared.size());
  for (const SharedPrefix& one : shared) pairs.emplace_back(one.leader, one.tokens);
  return pairs;
}

/// Questions about three prompts' images in a mixed order, some after the images at once and some further on, with
/// text alone between them.
std::vector<ModelInput> drawn_questions(const DecoderSpec& spec, std::mt19937& random) {
  std::vector<ModelInput> images, questions;
  for (const int64_t count : {1, 2, 3}) images.push_back(testing::drawn_input(spec, random, count));
  for (int i = 0; i < 12; ++i) {
    if (i == 5) questions.push_back(testing::drawn_input(spec, random, 0));
    const ModelInput& from = images[random() % 3];
    const int64_t end = end_of_images(from), extra = int64_t(random() % uint64_t(from.length() - end + 1));
    questions.push_back(other_ending(from, end + extra, 1 + int64_t(random() % 9), spec.hidden_size, random));
  }
  return questions;
}

TEST(SharedPrefix, NobodyNoticesAndItIsComputedOnce) {
  std::mt19937 random(31);
  const ModelSpec spec = testing::small_spec();
  int64_t members = 0;
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    const Engine engine(spec, testing::drawn_plan(spec.text, random), testing::on_device(), 4);
    const std::vector<ModelInput> inputs = drawn_questions(spec.text, random);
    TraceOptions options;
    options.hidden = true, options.all_logits = true, options.decode = {3, 14, 15};
    engine.counters() = {};
    const std::vector<Trace> together = engine.traces(inputs, options);
    const runtime::Counters counters = engine.counters();
    Cost promised, once = counters.prefill;
    int64_t tokens = 0, bytes = 0;
    const std::vector<SharedPrefix> shared = shared_prefixes(spec, inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      SCOPED_TRACE(i);
      const PromptShape whole = shape_of(inputs[i]);
      promised += prefill_cost(engine.plan(), spec.text, whole, whole.length);
      tokens += inputs[i].length() - shared[i].tokens;
      bytes += kv_bytes(engine.plan(), spec.text, whole, 3, 4);
      if (shared[i].leader >= 0) {
        ++members;
        const PromptShape prefix = prefix_shape(inputs[i], shared[i].tokens);
        once += prefill_cost(engine.plan(), spec.text, prefix, 0);
        PromptShape text = whole;
        text.length -= inputs[i].visual_tokens(), text.spans.clear();
        bytes -= kv_bytes(engine.plan(), spec.text, whole, 0, 4) - kv_bytes(engine.plan(), spec.text, text, 0, 4);
      }
      const Trace alone = engine.trace(inputs[i], options);
      EXPECT_TRUE(close_relative(together[i].hidden, alone.hidden, 1e-5));
      EXPECT_TRUE(close_relative(together[i].logits, alone.logits, 1e-5));
      EXPECT_TRUE(close_relative(together[i].decode_logits, alone.decode_logits, 1e-5));
    }
    EXPECT_EQ(once, promised) << "what was issued, and the prefixes that were not issued again";
    EXPECT_EQ(counters.prefill_tokens, tokens);
    EXPECT_EQ(counters.kv_bytes, bytes);
  }
  EXPECT_GT(members, 40) << "of 104 requests";
}

TEST(SharedPrefix, ItsKeysStayAsLongAsAnyoneReadsThem) {
  std::mt19937 random(32);
  const ModelSpec spec = testing::small_spec();
  const int64_t hidden = spec.text.hidden_size, vocab = spec.text.vocab_size;
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 4);
  const ModelInput first = testing::drawn_input(spec.text, random, 2);
  const std::vector<ModelInput> inputs{first, other_ending(first, end_of_images(first), 4, hidden, random),
                                       other_ending(first, end_of_images(first), 7, hidden, random)};
  ASSERT_EQ(shared_prefixes(spec, inputs)[2].leader, 0);
  const auto session = engine.prefill(inputs, 3);
  engine.release(*session, 0);
  engine.decode(*session, {2, 1}, {5, 6});
  engine.release(*session, 2);
  EXPECT_EQ(engine.counters().kv_bytes, kv_bytes(engine.plan(), spec.text, shape_of(inputs[1]), 1, 4));
  engine.decode(*session, {1}, {7});
  const auto alone = engine.prefill({inputs[1]}, 2);
  engine.decode(*alone, {0}, {6});
  engine.decode(*alone, {0}, {7});
  const std::vector<float>& logits = engine.logits(*session);
  EXPECT_TRUE(close_relative(std::vector<float>(logits.begin() + vocab, logits.begin() + 2 * vocab),
                             engine.logits(*alone), 1e-5));
  engine.release(*session, 1);
  EXPECT_EQ(engine.counters().kv_bytes, 0);
}

// Ids and pixels instead of ready embeddings, positions along three axes, tiles: the tower sees each image once.
TEST(SharedPrefix, FromPixelsOfEveryKind) {
  for (const char* name : {"llava_hf/cases/single", "qwen2vl/cases/two_images", "qwen2_5_vl/cases/windows",
                           "qwen3_vl/cases/two_images", "internvl2_internlm2/cases/tiles2_thumb"}) {
    SCOPED_TRACE(name);
    const OpenModel model =
        open_model(testing::fixture(std::string(name).substr(0, std::string(name).find('/')) + "/model"));
    const ModelInput input = read_input(model.spec, testing::fixture(name) / "inputs.safetensors");
    std::vector<ModelInput> inputs{input, input, input};
    inputs[1].input_ids.back() = input.input_ids.back() == 5 ? 6 : 5;
    inputs[2].input_ids[inputs[2].input_ids.size() - 2] = inputs[1].input_ids.back();
    ASSERT_EQ(pairs_of(shared_prefixes(model.spec, inputs)),
              (std::vector<std::pair<int64_t, int64_t>>{{-1, 0}, {0, input.length() - 1}, {0, input.length() - 2}}));
    const Engine engine(model, read_plan(testing::fixture(name) / "skip_all.plan.json"), testing::on_device());
    TraceOptions options;
    options.decode = {3, 14};
    engine.counters() = {};
    const std::vector<Trace> together = engine.traces(inputs, options);
    const double tower = engine.counters().vision_macs;
    for (size_t i = 0; i < inputs.size(); ++i) {
      SCOPED_TRACE(i);
      engine.counters() = {};
      const Trace alone = engine.trace(inputs[i], options);
      EXPECT_EQ(engine.counters().vision_macs, tower);
      EXPECT_TRUE(close_relative(together[i].hidden, alone.hidden, 1e-5));
      EXPECT_TRUE(close_relative(together[i].logits, alone.logits, 1e-5));
      EXPECT_TRUE(close_relative(together[i].decode_logits, alone.decode_logits, 1e-5));
    }
  }
}

TEST(SharedPrefix, CanBeLeftOut) {
  std::mt19937 random(33);
  const ModelSpec spec = testing::small_spec();
  runtime::Options options = testing::on_device();
  options.share_prefixes = false;
  const Engine engine(spec, testing::drawn_plan(spec.text, random), options, 4);
  const std::vector<ModelInput> inputs = drawn_questions(spec.text, random);
  const auto session = engine.prefill(inputs, 0);
  Cost promised;
  int64_t bytes = 0;
  for (const ModelInput& input : inputs) {
    promised += prefill_cost(engine.plan(), spec.text, shape_of(input));
    bytes += kv_bytes(engine.plan(), spec.text, shape_of(input), 0, 4);
  }
  EXPECT_EQ(engine.counters().prefill, promised);
  EXPECT_EQ(engine.counters().kv_bytes, bytes);
}

/// Two questions of ids and pixels about one 2 x 2 image at token 2; the second differs from token `at` on.
std::vector<ModelInput> asked_twice(int64_t at, int64_t length = 12) {
  ModelInput input;
  input.spans = {{2, 2, 2}};
  input.images = 1;
  input.pixel_values = {0.5f, 1.5f, -2.0f};
  for (int64_t i = 0; i < length; ++i) input.input_ids.push_back(20 + i), input.position_ids.push_back(i);
  std::vector<ModelInput> inputs{input, input};
  for (int64_t i = at; i < length; ++i) inputs[1].input_ids[size_t(i)] = 3;
  return inputs;
}

using Pairs = std::vector<std::pair<int64_t, int64_t>>;
const Pairs nothing{{-1, 0}, {-1, 0}};

TEST(SharedPrefix, EndsBehindTheImagesAndLeavesAToken) {
  const ModelSpec spec = testing::small_spec();
  EXPECT_EQ(pairs_of(shared_prefixes(spec, asked_twice(9))), (Pairs{{-1, 0}, {0, 9}}));
  EXPECT_EQ(pairs_of(shared_prefixes(spec, asked_twice(6))), (Pairs{{-1, 0}, {0, 6}})) << "right behind the image";
  EXPECT_EQ(pairs_of(shared_prefixes(spec, asked_twice(12))), (Pairs{{-1, 0}, {0, 11}})) << "the same question twice";
  EXPECT_EQ(pairs_of(shared_prefixes(spec, asked_twice(1))), nothing) << "other words before the image";
  std::vector<ModelInput> inputs = asked_twice(6, 6);
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing) << "nothing would be left behind the image";
  inputs[1].input_ids.push_back(7), inputs[1].position_ids.push_back(6);
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), (Pairs{{-1, 0}, {0, 6}})) << "the leader ends with the image";
}

TEST(SharedPrefix, OnlyOfTheSameImagesAtTheSamePlaces) {
  const ModelSpec spec = testing::small_spec();
  std::vector<ModelInput> inputs = asked_twice(9);
  inputs[1].pixel_values[2] = -2.25f;
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing) << "another image";
  inputs = asked_twice(9);
  inputs[1].spans[0] = {2, 4, 1};
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing) << "another shape";
  inputs = asked_twice(9);
  inputs[1].position_ids[5] = 4;
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing) << "other positions";
  inputs = asked_twice(9);
  inputs[0].spans.push_back({9, 1, 1});
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing) << "an image behind the prefix";
  inputs = asked_twice(9);
  for (ModelInput& input : inputs) input.spans.clear(), input.pixel_values.clear(), input.images = 0;
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing) << "text alone";
}

TEST(SharedPrefix, PositionsAlongAllThreeAxes) {
  const ModelSpec spec = testing::small_spec();
  std::vector<ModelInput> inputs = asked_twice(9);
  for (ModelInput& input : inputs) {
    input.position_axes = 3;
    const std::vector<int64_t> one = input.position_ids;
    for (int axis = 1; axis < 3; ++axis) input.position_ids.insert(input.position_ids.end(), one.begin(), one.end());
  }
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), (Pairs{{-1, 0}, {0, 9}}));
  inputs[1].position_ids[2 * 12 + 7] = 30;
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), (Pairs{{-1, 0}, {0, 7}}));
}

TEST(SharedPrefix, NotWhereALengthChoosesOtherFrequencies) {
  ModelSpec spec = testing::small_spec();
  spec.text.rope.scaling = RopeSpec::Scaling::DynamicNtk;
  spec.text.rope.factor = 2, spec.text.rope.original_positions = 12;
  std::vector<ModelInput> inputs = asked_twice(9);
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), (Pairs{{-1, 0}, {0, 9}})) << "both within the original length";
  inputs[1].input_ids.push_back(3), inputs[1].position_ids.push_back(12);
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing) << "one beyond it";

  spec.text.rope.scaling = RopeSpec::Scaling::LongRope;
  spec.text.rope.short_factor.assign(size_t(spec.text.head_dim / 2), 1.0f);
  spec.text.rope.long_factor.assign(size_t(spec.text.head_dim / 2), 4.0f);
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing) << "short and long factors";
  inputs[0] = inputs[1];
  inputs[0].input_ids[10] = 4;
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), (Pairs{{-1, 0}, {0, 10}})) << "long factors both";
}

// Sizes that do not fit are refused where rows are embedded; looking for prefixes must not read past them.
TEST(SharedPrefix, WrongSizesShareNothing) {
  const ModelSpec spec = testing::small_spec();
  std::vector<ModelInput> inputs = asked_twice(9);
  inputs[1].input_ids.resize(3);
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing);
  inputs = asked_twice(9);
  inputs[0].embeds.resize(5), inputs[1].embeds.resize(5);
  EXPECT_EQ(pairs_of(shared_prefixes(spec, inputs)), nothing);
}

}  // namespace
}  // namespace yopo
