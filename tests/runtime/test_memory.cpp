// Memory: layers streamed within a budget give the same numbers, and nothing grows however long an engine works.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using runtime::Engine;
using runtime::Options;

/// Weights as rows: bit for bit what streamed layers compute. Packed ones are added up in another order.
Options as_rows() {
  Options options = testing::on_device();
  options.pack = false;
  return options;
}

Options within(int64_t bytes) {
  Options options = as_rows();
  options.memory = bytes;
  return options;
}

/// The least budget under which `work` runs, found by asking.
template <typename Work>
int64_t least_budget(const ModelSpec& spec, const Plan& plan, Work work) {
  int64_t low = 0, high = int64_t(1) << 30;
  while (low + 1 < high) {
    const int64_t middle = (low + high) / 2;
    try {
      work(Engine(spec, plan, within(middle), 3));
      high = middle;
    } catch (const UserError&) {
      low = middle;
    }
  }
  return high;
}

TEST(Memory, StreamedLayersGiveTheSameNumbers) {
  std::mt19937 random(31);
  ModelSpec spec = testing::small_spec();
  spec.text.num_hidden_layers = 6;
  const Plan plan = testing::drawn_plan(spec.text, random);
  const ModelInput input = testing::drawn_input(spec.text, random, 2);
  TraceOptions options;
  options.decode = {3, 14, 15};
  const Engine whole(spec, plan, as_rows(), 3);
  EXPECT_EQ(whole.layers_held(), 6);
  const Trace expected = whole.trace(input, options);
  const int64_t least = least_budget(spec, plan, [&](const Engine& engine) { engine.trace(input, options); });
  std::vector<int64_t> held;
  for (int64_t budget = least; held.empty() || held.back() < 6; budget += 4000) {
    SCOPED_TRACE(budget);
    const Engine engine(spec, plan, within(budget), 3);
    const Trace trace = engine.trace(input, options);
    EXPECT_EQ(trace.hidden, expected.hidden);
    EXPECT_EQ(trace.decode_logits, expected.decode_logits);
    EXPECT_EQ(engine.counters().prefill, whole.counters().prefill);
    EXPECT_LE(engine.take_peak_bytes() + engine.weight_bytes_owned(),
              budget + int64_t(spec.text.vocab_size * spec.text.hidden_size * 4))
        << "the token embeddings lie on the host and are not counted";
    held.push_back(engine.layers_held());
    ASSERT_LT(held.size(), 400u);
  }
  EXPECT_EQ(held.front(), 0) << "one layer at a time";
  EXPECT_TRUE(std::is_sorted(held.begin(), held.end()));
  EXPECT_TRUE(std::find(held.begin(), held.end(), 3) != held.end()) << "some held, some streamed";
}

// What requests share needs room once, and the room that is asked for is enough.
TEST(Memory, ASharedPrefixHasItsRoomOnce) {
  std::mt19937 random(33);
  const ModelSpec spec = testing::small_spec();
  const Plan plan = dense_plan(spec.text);
  std::vector<ModelInput> inputs(8, testing::drawn_input(spec.text, random, 3));
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].embeds.back() = float(i);
  const auto ask = [&](const Engine& engine) { (void)engine.prefill(inputs, 2); };
  const int64_t least = least_budget(spec, plan, ask);
  const Engine engine(spec, plan, within(least), 3);
  ask(engine);
  EXPECT_LE(engine.take_peak_bytes() + engine.weight_bytes_owned(),
            least + int64_t(spec.text.vocab_size * spec.text.hidden_size * 4));
  runtime::Options apart = within(least);
  apart.share_prefixes = false;
  EXPECT_USER_ERROR(ask(Engine(spec, plan, apart, 3)), "memory");
}

// A larger batch takes layers' room away; a smaller one later still runs, as do sessions begun before.
TEST(Memory, SessionsOutliveEvictions) {
  std::mt19937 random(32);
  ModelSpec spec = testing::small_spec();
  spec.text.num_hidden_layers = 6;
  const Plan plan = testing::drawn_plan(spec.text, random);
  const ModelInput small = testing::drawn_input(spec.text, random, 0);
  ModelInput large = testing::drawn_input(spec.text, random, 3);
  const Engine whole(spec, plan, as_rows(), 3);
  const auto ask = [&](const Engine& engine) {
    std::vector<std::vector<float>> logits;
    const auto session = engine.prefill({small}, 8);
    for (int64_t token : {1, 2, 3}) engine.decode(*session, {0}, {token}), logits.push_back(engine.logits(*session));
    {
      const auto other = engine.prefill({large}, 0);
      logits.push_back(engine.logits(*other));
    }
    for (int64_t token : {4, 5, 6}) engine.decode(*session, {0}, {token}), logits.push_back(engine.logits(*session));
    return logits;
  };
  const auto expected = ask(whole);
  int64_t budget = least_budget(spec, plan, [&](const Engine& engine) { ask(engine); });
  for (int round = 0; round < 12; ++round, budget += 9000)
    EXPECT_EQ(ask(Engine(spec, plan, within(budget), 3)), expected) << budget;
}

// The tower's layers go before the decoder's: they work once a prompt.
TEST(Memory, AStreamedTowerGivesTheSameNumbers) {
  for (const char* family : {"qwen2vl/cases/two_images", "qwen2_5_vl/cases/two_images", "qwen3_vl/cases/two_images",
                             "internvl2_internlm2_6b/cases/single"}) {
    SCOPED_TRACE(family);
    const std::string model_name = std::string(family).substr(0, std::string(family).find('/')) + "/model";
    const OpenModel model = open_model(testing::fixture(model_name));
    const Plan plan = read_plan(testing::fixture(family) / "skip_all.plan.json");
    const ModelInput input = read_input(model.spec, testing::fixture(family) / "inputs.safetensors");
    const Trace expected = Engine(model, plan, as_rows()).trace(input, {});
    int streamed = 0, held = 0;
    for (int64_t budget = 300'000; budget < 3'000'000; budget += 40'000) {
      try {
        const Engine engine(model, plan, within(budget));
        const Trace trace = engine.trace(input, {});
        EXPECT_EQ(trace.vision_features, expected.vision_features) << budget;
        EXPECT_EQ(trace.hidden, expected.hidden) << budget;
        ++(engine.vision_layers_held() == 0 ? streamed : held);
      } catch (const UserError&) {
        EXPECT_EQ(streamed + held, 0) << "more memory is never too little: " << budget;
      }
    }
    EXPECT_GT(streamed, 3);
    EXPECT_GT(held, 3);
  }
}

TEST(Memory, TooSmallABudgetIsNamed) {
  const ModelSpec spec = testing::small_spec();
  try {
    const Engine engine(spec, dense_plan(spec.text), within(1000), 3);
    FAIL() << "ran in a kilobyte";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("memory"), std::string::npos) << error.what();
  }
  EXPECT_THROW(Engine(spec, dense_plan(spec.text), within(-1), 3), UserError);
}

// Ten thousand cycles of prefill and decode in changing shapes hold no more afterwards than after the first thousand.
// (A tenth of them over the host shim, which takes a hundred times as long for each.)
TEST(Memory, TenThousandCyclesDoNotGrow) {
  std::mt19937 random(33);
  ModelSpec spec = testing::small_spec();
  spec.text.num_hidden_layers = 1;
  const Engine engine(spec, testing::drawn_plan(spec.text, random), testing::on_device(), 3);
  std::vector<ModelInput> inputs;
  for (int64_t i = 0; i < 20; ++i) {
    inputs.push_back(testing::drawn_input(spec.text, random, i % 3));
    ModelInput& input = inputs.back();
    if (i % 2) continue;
    input.spans.clear();  // short text
    input.position_ids.resize(size_t(1 + i / 2));
    input.embeds.resize(input.position_ids.size() * size_t(spec.text.hidden_size));
  }
  const int64_t cycles = testing::emulated() ? 1000 : 10000;
  int64_t early = 0;
  for (int64_t cycle = 0; cycle < cycles; ++cycle) {
    const size_t at = size_t(cycle) % inputs.size(), next = (at + 1) % inputs.size();
    const auto session = cycle % 5 ? engine.prefill({inputs[at]}, 2) : engine.prefill({inputs[at], inputs[next]}, 2);
    engine.decode(*session, {0}, {5});
    if (cycle % 3 == 0) engine.decode(*session, {0}, {6});
    if (cycle % 7 == 0) engine.release(*session, 0);
    if (cycle == cycles / 10) early = testing::bytes_in_use();
  }
  // The heap's own bookkeeping moves by some kilobytes; the smallest leak, 16 bytes a cycle, would be twice this.
  EXPECT_LE(testing::bytes_in_use(), early + std::max<int64_t>(16384, 8 * cycles));
  EXPECT_GT(early, 0);
  engine.take_peak_bytes();
  EXPECT_EQ(engine.take_peak_bytes(), 0) << "no session is left";
}

}  // namespace
}  // namespace yopo
