// What a profiler's time line says of a prefill, its vision tower and a decode step: over a device that keeps the
// names.
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"

namespace yopo {
namespace {

using runtime::Engine;

std::vector<std::string> open_ranges, seen;

void begin_range(const char* name) {
  open_ranges.emplace_back(name);
  seen.push_back(fmt::format("{}", fmt::join(open_ranges, "/")));
}
void end_range() { open_ranges.pop_back(); }

const runtime::Ops& noting_ops() {
  static const runtime::Ops ops = [] {
    runtime::Ops copy = testing::tested_ops();
    copy.begin_range = begin_range, copy.end_range = end_range;
    return copy;
  }();
  return ops;
}

runtime::Options noting() { return {.dtype = "fp32", .ops = &noting_ops()}; }

TEST(Ranges, OfPrefillAndDecode) {
  const ModelSpec spec = testing::small_spec();
  std::mt19937 random(1);
  const ModelInput input = testing::drawn_input(spec.text, random, 1);
  const Engine engine(spec, dense_plan(spec.text), noting(), 3);
  seen.clear();
  const auto session = engine.prefill({input}, 2);
  const auto walk = [](const std::string& what) {
    return std::vector<std::string>{what, what + "/layer 0", what + "/layer 1", what + "/layer 2", what + "/head"};
  };
  EXPECT_EQ(seen, walk("prefill"));
  seen.clear();
  engine.decode(*session, {0}, {5});
  EXPECT_EQ(seen, walk("decode"));
  EXPECT_TRUE(open_ranges.empty());
}

TEST(Ranges, OfTheVisionTower) {
  const OpenModel model = open_model(testing::fixture("llava_hf/model"));
  const ModelInput input = read_input(model.spec, testing::fixture("llava_hf/cases/single/inputs.safetensors"));
  const Engine engine(model, dense_plan(model.spec.text), noting());
  seen.clear();
  engine.prefill({input}, 0);
  std::vector<std::string> expected{"prefill", "prefill/vision"};
  for (int64_t block = 0; block < model.spec.vision.layers_run(); ++block)
    expected.push_back(fmt::format("prefill/vision/block {}", block));
  expected.emplace_back("prefill/vision/projector");
  for (int64_t layer = 0; layer < model.spec.text.num_hidden_layers; ++layer)
    expected.push_back(fmt::format("prefill/layer {}", layer));
  expected.emplace_back("prefill/head");
  EXPECT_EQ(seen, expected);
  EXPECT_TRUE(open_ranges.empty());
}

// A failure on the way closes what is open.
TEST(Ranges, CloseOnErrors) {
  const ModelSpec spec = testing::small_spec();
  const Engine engine(spec, dense_plan(spec.text), noting(), 3);
  ModelInput input;
  input.position_ids = {0, 1};
  input.input_ids = {1, spec.text.vocab_size};
  EXPECT_THROW(engine.prefill({input}, 0), UserError);
  EXPECT_TRUE(open_ranges.empty());
}

}  // namespace
}  // namespace yopo
