// A session keeps what it points into: the engine may be moved, or gone first.
#include <gtest/gtest.h>

#include <memory>
#include <optional>

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

}  // namespace
}  // namespace yopo
