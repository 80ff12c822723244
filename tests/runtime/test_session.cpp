// A session keeps what it points into: the engine may be moved, or gone first.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <thread>

#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"

namespace yopo {
namespace {

using runtime::Engine;

TEST(Session, OutlivesItsEngine) {
  std::mt19937 random(3);
  const ModelSpec spec = testing::small_spec();
  const ModelInput input = testing::drawn_input(spec.text, random, 1);
  std::optional<Engine> engine(std::in_place, spec, dense_plan(spec.text), testing::on_device(), 4);
  const int64_t weights = engine->weight_bytes_owned();
  ASSERT_GT(weights, 100'000);
  auto session = engine->prefill({input}, 2);
  engine->decode(*session, {0}, {5});
  const int64_t both = testing::bytes_in_use();
  engine.reset();
  const int64_t held = testing::bytes_in_use();
  EXPECT_GT(held, both - weights / 2) << "the session still reads the weights";
  session.reset();  // its caches and its recorded step are given back to an engine that nobody else holds
  EXPECT_LT(testing::bytes_in_use(), held - weights / 2) << "the last one gives them back";
}

TEST(Session, GoesOnWithAMovedEngine) {
  std::mt19937 random(3);
  const ModelSpec spec = testing::small_spec();
  const ModelInput input = testing::drawn_input(spec.text, random, 1);
  Engine first(spec, dense_plan(spec.text), testing::on_device(), 4);
  const auto alone = first.prefill({input}, 2);
  first.decode(*alone, {0}, {5});
  first.decode(*alone, {0}, {6});
  const std::vector<float> expected = first.logits(*alone);
  const auto session = first.prefill({input}, 2);
  first.decode(*session, {0}, {5});
  const Engine second = std::move(first);
  second.decode(*session, {0}, {6});
  EXPECT_EQ(second.logits(*session), expected);
  EXPECT_THROW(second.dense().decode(*session, {0}, {7}), InternalError) << "another engine's session";
  EXPECT_THROW(second.dense().release(*session, 0), InternalError);
}

// What is kept between the layers goes on to the same bits.
TEST(Session, GoesOnFromRowsBetweenLayers) {
  std::mt19937 random(14);
  const ModelSpec spec = testing::small_spec();
  const Engine engine(spec, testing::drawn_plan(spec.text, random), testing::on_device(), 5);
  const std::vector<ModelInput> inputs{testing::drawn_input(spec.text, random, 1),
                                       testing::drawn_input(spec.text, random, 2)};
  RowsBetween rows;
  TraceOptions options;
  options.hidden = false, options.last_logits = 3, options.all_logits = false;
  options.keep_rows = &rows;
  const std::vector<Trace> whole = engine.traces(inputs, options);
  ASSERT_EQ(whole[0].logits.size(), size_t(3 * spec.text.vocab_size));
  options.keep_rows = nullptr;
  options.from_rows = &rows;
  for (options.first_layer = 0; options.first_layer < spec.text.num_hidden_layers; ++options.first_layer) {
    const std::vector<Trace> again = engine.traces(inputs, options);
    for (size_t i = 0; i < inputs.size(); ++i) EXPECT_EQ(again[i].logits, whole[i].logits) << options.first_layer;
  }
}

// Engines of one thread each, at work at the same time, give what each gives alone.
TEST(Session, EnginesInThreads) {
  std::mt19937 random(15);
  ModelSpec spec = testing::small_spec();
  spec.text.hidden_size = 128, spec.text.head_dim = 16, spec.text.num_attention_heads = 8;
  spec.text.num_key_value_heads = 8, spec.text.intermediate_size = 384;
  ModelInput input;  // long enough for products that need scratch memory
  input.spans.push_back({3, 30, 30});
  for (int64_t t = 0; t < 920; ++t) input.position_ids.push_back(t);
  std::normal_distribution<float> normal;
  input.embeds.resize(size_t(920 * 128));
  for (float& value : input.embeds) value = normal(random);
  runtime::Options options = testing::on_device();
  options.threads = 1;
  std::vector<Engine> engines;
  engines.reserve(3);
  for (int i = 0; i < 3; ++i) engines.emplace_back(spec, dense_plan(spec.text), options, 6);
  const std::vector<float> alone = engines[0].trace(input, {}).logits;
  std::vector<std::vector<float>> found(engines.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < engines.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) {
        std::vector<float> logits = engines[i].trace(input, {}).logits;
        if (round == 0 || logits != alone) found[i] = std::move(logits);
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<float>& logits : found) EXPECT_EQ(logits, alone);
}

}  // namespace
}  // namespace yopo
