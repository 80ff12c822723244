#include "compress/make_plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/version.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using Sets = std::vector<std::optional<std::vector<int64_t>>>;

// [2 layers, 2 heads, 3 neurons]; two visual rows in layer 0 and four in layer 1.
Statistics small_statistics() {
  Statistics statistics;
  statistics.layers = 2;
  statistics.heads = 2;
  statistics.intermediate_size = 3;
  statistics.fingerprint = "abc";
  statistics.ids = {"one"};
  statistics.ratio = {0.1, 0.2, 0.4, 0.3};
  statistics.abs_sum = {2, 4, 6, 12, 8, 4};
  statistics.square_sum = {32, 8, 18, 4, 16, 36};
  statistics.active = {1, 2, 0, 4, 0, 2};
  statistics.rows = {2, 4};
  statistics.column_norm = {0.5, 4, 1, 10, 1, 1};
  return statistics;
}
DecoderSpec small_spec() {
  DecoderSpec spec;
  spec.num_hidden_layers = 2;
  spec.num_attention_heads = spec.num_key_value_heads = 2;
  spec.head_dim = 4;
  spec.hidden_size = 8;
  spec.intermediate_size = 3;
  return spec;
}

FfnOptions ffn(double value, bool fraction, NeuronScore score, Scope scope = Scope::Layer) {
  return {.keep = {.fraction = fraction, .value = value}, .score = score, .scope = scope};
}

TEST(NeuronScores, FollowTheirFormulas) {
  const Statistics s = small_statistics();
  EXPECT_TRUE(
      testing::close(neuron_scores(s, NeuronScore::MeanAbs, "t"), std::vector<double>{1, 2, 3, 3, 2, 1}, 1e-12));
  EXPECT_TRUE(testing::close(neuron_scores(s, NeuronScore::Rms, "t"), std::vector<double>{4, 2, 3, 1, 2, 3}, 1e-12));
  EXPECT_TRUE(
      testing::close(neuron_scores(s, NeuronScore::Active, "t"), std::vector<double>{.5, 1, 0, 1, 0, .5}, 1e-12));
  EXPECT_TRUE(testing::close(neuron_scores(s, NeuronScore::Wanda, "t"), std::vector<double>{2, 8, 3, 10, 2, 3}, 1e-12));
}

TEST(SelectNeurons, HighestInEachLayer) {
  const Statistics s = small_statistics();
  EXPECT_EQ(select_neurons(s, ffn(2, false, NeuronScore::Rms), "t"), (Sets{{{0, 2}}, {{1, 2}}}));
  EXPECT_EQ(select_neurons(s, ffn(1, false, NeuronScore::MeanAbs), "t"), (Sets{{{2}}, {{0}}}));
  EXPECT_EQ(select_neurons(s, ffn(0.34, true, NeuronScore::Wanda), "t"), (Sets{{{1}}, {{0}}}));
  EXPECT_EQ(select_neurons(s, ffn(1.0, true, NeuronScore::Wanda), "t"), (Sets{std::nullopt, std::nullopt}));
  EXPECT_EQ(select_neurons(s, ffn(0, false, NeuronScore::Wanda), "t"),
            (Sets{std::vector<int64_t>{}, std::vector<int64_t>{}}));
}

TEST(SelectNeurons, AcrossTheModelALayerMayKeepNoneOrAll) {
  const Statistics s = small_statistics();
  EXPECT_EQ(select_neurons(s, ffn(0.5, true, NeuronScore::Wanda, Scope::Model), "t"), (Sets{{{1, 2}}, {{0}}}));
  Statistics lopsided = s;
  lopsided.column_norm = {1e-6, 1e-6, 1e-6, 10, 10, 10};
  EXPECT_EQ(select_neurons(lopsided, ffn(3, false, NeuronScore::Wanda, Scope::Model), "t"),
            (Sets{std::vector<int64_t>{}, std::nullopt}));
  // Only layers that hold visual tokens compete.
  EXPECT_EQ(select_neurons(lopsided, ffn(1, false, NeuronScore::Wanda, Scope::Model), "t", 1),
            (Sets{{{0}}, std::nullopt}));
  EXPECT_USER_ERROR((void)select_neurons(s, ffn(4, false, NeuronScore::Wanda, Scope::Model), "t", 1), "above the 3");
}

TEST(SelectNeurons, TiesGoToTheLowerLayerThenTheLowerNeuron) {
  Statistics s = small_statistics();
  s.rows = {1, 1};
  s.abs_sum = {1, 1, 1, 1, 1, 1};
  EXPECT_EQ(select_neurons(s, ffn(2, false, NeuronScore::MeanAbs), "t"), (Sets{{{0, 1}}, {{0, 1}}}));
  EXPECT_EQ(select_neurons(s, ffn(4, false, NeuronScore::MeanAbs, Scope::Model), "t"), (Sets{std::nullopt, {{0}}}));
}

TEST(SelectNeurons, RefusesWhatCannotBe) {
  Statistics s = small_statistics();
  EXPECT_USER_ERROR((void)select_neurons(s, ffn(4, false, NeuronScore::Rms), "recipe: plan.ffn"),
                    "recipe: plan.ffn: keep: 4");
  EXPECT_USER_ERROR((void)select_neurons(s, ffn(-0.1, true, NeuronScore::Rms), "t"), "fraction");
  s.rows[1] = 0;
  EXPECT_USER_ERROR((void)select_neurons(s, ffn(1, false, NeuronScore::Rms), "t"), "no visual rows in layer 1");
  s = small_statistics();
  s.square_sum[4] = NAN;
  EXPECT_USER_ERROR((void)select_neurons(s, ffn(1, false, NeuronScore::Rms), "t"), "layer 1, neuron 1");
}

PlanOptions every_option() {
  PlanOptions options;
  options.window = WindowOptions{3, true};
  options.heads.emplace();
  options.heads->keep = Keep{.fraction = false, .value = 1};
  options.updates.emplace();
  options.updates->keep = Keep{.fraction = false, .value = 0};
  options.ffn = ffn(1, false, NeuronScore::Wanda);
  return options;
}

TEST(MakePlan, CombinesAndRecordsWhereItCameFrom) {
  const Plan plan = make_plan(small_statistics(), every_option(), small_spec(), "recipe");
  EXPECT_EQ(plan.window, (Window{3, true}));
  EXPECT_EQ(plan.visual_layers, 2);
  EXPECT_EQ(plan.heads, (HeadMask{{0, 1}, {1, 0}}));
  EXPECT_EQ(plan.updates, (HeadMask{{0, 0}, {0, 0}}));
  EXPECT_EQ(plan.ffn, (Sets{{{1}}, {{0}}}));
  EXPECT_EQ(plan.provenance, parse_json(fmt::format(R"({{"tool": "yopo {}", "statistics": "abc", "samples": 1,
    "queries": "prefill", "options": {{"window": {{"size": 3, "causal": true}}, "heads": {{"keep": 1, "scope": "layer"}},
    "updates": {{"keep": 0, "scope": "layer"}}, "ffn": {{"keep": 1, "score": "wanda", "scope": "layer"}}}}}})",
                                                    tool_version),
                                        "t"));
  EXPECT_EQ(make_plan(small_statistics(), every_option(), small_spec(), "recipe"), plan);
  EXPECT_TRUE(is_dense(make_plan(small_statistics(), PlanOptions{}, small_spec(), "recipe"), small_spec()));
}

TEST(MakePlan, LayersPastVisualLayersAreLeftAsTheyAre) {
  PlanOptions options = every_option();
  options.visual_layers = 1;
  const Plan plan = make_plan(small_statistics(), options, small_spec(), "recipe");
  EXPECT_EQ(plan.heads, (HeadMask{{0, 1}, {1, 1}}));
  EXPECT_EQ(plan.updates, (HeadMask{{0, 0}, {1, 1}}));
  EXPECT_EQ(plan.ffn, (Sets{{{1}}, std::nullopt}));
  EXPECT_EQ(plan.head_counts(), (std::vector<int64_t>{1, 0}));
  // A published simulation masks every layer.
  options.semantics = "llava";
  const Plan simulated = make_plan(small_statistics(), options, small_spec(), "recipe");
  EXPECT_EQ(simulated.heads, (HeadMask{{0, 1}, {1, 0}}));
  EXPECT_EQ(simulated.ffn, (Sets{{{1}}, {{0}}}));
}

TEST(MakePlan, RefusesWhatDoesNotFit) {
  DecoderSpec spec = small_spec();
  spec.intermediate_size = 4;
  EXPECT_USER_ERROR((void)make_plan(small_statistics(), {}, spec, "recipe"), "another model");
  PlanOptions options;
  options.visual_layers = 3;
  EXPECT_USER_ERROR((void)make_plan(small_statistics(), options, small_spec(), "recipe"), "visual_layers: 3");
  options = {};
  options.window = WindowOptions{4, false};
  EXPECT_USER_ERROR((void)make_plan(small_statistics(), options, small_spec(), "recipe"), "odd");
  options = {};
  options.semantics = "slip";
  EXPECT_USER_ERROR((void)make_plan(small_statistics(), options, small_spec(), "recipe"), "did you mean 'skip'?");
}

TEST(RandomPlan, KeepsTheCountsAndNothingElse) {
  DecoderSpec spec = small_spec();
  spec.num_attention_heads = 16;
  spec.num_key_value_heads = 4;
  spec.intermediate_size = 40;
  Plan like = dense_plan(spec);
  like.window = Window{5, false};
  like.updates = like.heads;
  for (size_t head = 0; head < 8; ++head) like.heads[1][head] = (*like.updates)[1][head] = 0;
  for (size_t head = 0; head < 12; ++head) (*like.updates)[1][head] = 0;
  like.ffn[0] = std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const Plan plan = random_plan(like, spec, 7);
  EXPECT_EQ(plan.head_counts(), like.head_counts());
  EXPECT_EQ(plan.update_counts(), like.update_counts());
  EXPECT_EQ(plan.ffn_counts(40), like.ffn_counts(40));
  EXPECT_EQ(plan.window, like.window);
  EXPECT_NE(plan.heads, like.heads);
  EXPECT_NE(plan.ffn, like.ffn);
  EXPECT_EQ(random_plan(like, spec, 7), plan);
  const Plan other = random_plan(like, spec, 8);
  EXPECT_NE(other.heads, plan.heads);
  EXPECT_NE(other.ffn, plan.ffn);
}

TEST(RandomPlan, IsTheSameOnEveryMachine) {
  DecoderSpec spec = small_spec();
  spec.num_hidden_layers = 1;
  spec.intermediate_size = 1000;
  Plan like = dense_plan(spec);
  like.ffn[0] = std::vector<int64_t>{0, 1, 2, 3, 4};
  EXPECT_EQ(random_plan(like, spec, 1).ffn[0], (std::vector<int64_t>{54, 423, 486, 900, 933}));
}

TEST(RandomPlan, EveryNeuronIsAsLikely) {
  DecoderSpec spec = small_spec();
  spec.num_hidden_layers = 1;
  Plan like = dense_plan(spec);
  like.ffn[0] = std::vector<int64_t>{0};
  std::vector<int> hits(3, 0);
  for (uint64_t seed = 0; seed < 3000; ++seed) ++hits[size_t(random_plan(like, spec, seed).ffn[0]->front())];
  for (int hit : hits) EXPECT_NEAR(hit, 1000, 130);  // five standard deviations
}

TEST(Version, IsTheProjects) {
  const std::string cmake = testing::read_file(fs::path(YOPO_SOURCE_DIR) / "CMakeLists.txt");
  EXPECT_NE(cmake.find(fmt::format("project(yopo VERSION {} ", tool_version)), std::string::npos);
}

}  // namespace
}  // namespace yopo
