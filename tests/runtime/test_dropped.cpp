// Token dropping: what is left gives the numbers of a prompt that never had the other tokens, and costs as much.
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

using runtime::Engine;
using testing::close_relative;

TraceOptions options_of(std::vector<int64_t> decode) {
  TraceOptions options;
  options.decode = std::move(decode);
  options.hidden = false;
  return options;
}

/// Every third visual token.
KeptRows every_third(const ModelInput& input, int64_t from) {
  KeptRows kept{from, {}};
  for (int64_t row = 1; row < input.visual_tokens(); row += 3) kept.rows.push_back(row);
  return kept;
}

/// The prompt without the others, built by hand: rows of embeddings and positions taken out.
ModelInput by_hand(const ModelInput& input, const KeptRows& kept, int64_t hidden) {
  ModelInput rest;
  int64_t row = 0, kept_before = 0;
  for (int64_t token = 0; token < input.length(); ++token) {
    bool visual = false;
    for (const Span& span : input.spans) visual = visual || (token >= span.start && token < span.start + span.count());
    if (visual) {
      const bool stays = kept_before < int64_t(kept.rows.size()) && kept.rows[size_t(kept_before)] == row++;
      if (!stays) continue;
      ++kept_before;
      rest.spans.push_back({int64_t(rest.position_ids.size()), 1, 1});
    }
    rest.position_ids.push_back(input.position_ids[size_t(token)]);
    const auto first = input.embeds.begin() + token * hidden;
    rest.embeds.insert(rest.embeds.end(), first, first + hidden);
  }
  return rest;
}

TEST(Dropped, BeforeTheDecoderEqualsThePromptWithoutThem) {
  std::mt19937 random(5);
  const ModelSpec spec = testing::small_spec();
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 7);
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(round);
    ModelInput input = testing::drawn_input(spec.text, random, 1 + round % 2);
    input.kept = every_third(input, 0);
    const ModelInput rest = by_hand(input, *input.kept, spec.text.hidden_size);
    const Trace dropped = engine.trace(input, options_of({3, 9})), without = engine.trace(rest, options_of({3, 9}));
    EXPECT_TRUE(close_relative(dropped.logits, without.logits, 1e-5));
    EXPECT_TRUE(close_relative(dropped.decode_logits, without.decode_logits, 1e-5));
  }
}

TEST(Dropped, KeepingAllEqualsTheWhole) {
  std::mt19937 random(6);
  const ModelSpec spec = testing::small_spec();
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 7);
  ModelInput input = testing::drawn_input(spec.text, random, 2);
  const Trace whole = engine.trace(input, options_of({3}));
  for (const int64_t from : {0, 1, 2}) {
    input.kept = KeptRows{from, {}};
    for (int64_t row = 0; row < input.visual_tokens(); ++row) input.kept->rows.push_back(row);
    const Trace same = engine.trace(input, options_of({3}));
    EXPECT_TRUE(close_relative(same.logits, whole.logits, 1e-5));
    EXPECT_TRUE(close_relative(same.decode_logits, whole.decode_logits, 1e-5));
  }
  input.kept->rows.pop_back();
  EXPECT_FALSE(close_relative(engine.trace(input, options_of({3})).decode_logits, whole.decode_logits, 1e-5))
      << "what is dropped is missed";
}

TEST(Dropped, CostsWhatIsPromised) {
  std::mt19937 random(8);
  const ModelSpec spec = testing::small_spec();
  runtime::Options options = testing::on_device();
  const Engine engine(spec, dense_plan(spec.text), options, 4);
  for (const int64_t from : {0, 1, 2}) {
    SCOPED_TRACE(from);
    std::vector<ModelInput> inputs{testing::drawn_input(spec.text, random, 1),
                                   testing::drawn_input(spec.text, random, 2)};
    Cost prefill, decode;
    int64_t bytes = 0;
    for (ModelInput& input : inputs) {
      input.kept = every_third(input, from);
      prefill += prefill_cost(engine.plan(), spec.text, shape_of(input));
      decode += decode_cost(engine.plan(), spec.text, shape_of(input), 0);
      bytes += kv_bytes(engine.plan(), spec.text, shape_of(input), 0, int64_t(size_of(engine.dtype())));
    }
    engine.counters() = {};
    const auto session = engine.prefill(inputs, 1);
    EXPECT_EQ(engine.counters().prefill, prefill);
    EXPECT_EQ(engine.counters().kv_bytes, bytes);
    engine.decode(*session, {0, 1}, {5, 6});
    EXPECT_EQ(engine.counters().decode, decode);
  }
}

TEST(Dropped, HostileListsAreRefused) {
  std::mt19937 random(9);
  const ModelSpec spec = testing::small_spec();
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 4);
  ModelInput input = testing::drawn_input(spec.text, random, 2);
  const int64_t visual = input.visual_tokens();
  for (const KeptRows& kept : {KeptRows{0, {visual}}, KeptRows{0, {-1}}, KeptRows{0, {1, 1}}, KeptRows{0, {1, 0}},
                               KeptRows{-1, {}}, KeptRows{spec.text.num_hidden_layers, {}}}) {
    input.kept = kept;
    EXPECT_THROW((void)engine.prefill({input}, 0), UserError);
  }
  input.kept = KeptRows{1, {0}};
  ModelInput other = input, whole = input;
  other.kept->from_layer = 0;
  whole.kept.reset();
  EXPECT_THROW((void)engine.prefill({input, other}, 0), UserError) << "from different layers";
  EXPECT_THROW((void)engine.prefill({input, whole}, 0), UserError) << "only one drops";
  Plan windows = dense_plan(spec.text);
  set_window(windows, Window{3, true});
  EXPECT_THROW((void)engine.under(windows).prefill({input}, 0), UserError) << "a window is of a whole picture";
}

}  // namespace
}  // namespace yopo
