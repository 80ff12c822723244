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

TEST(SelectNeurons, KeepsMultiples) {
  const auto whole = [](FfnOptions options, int64_t count, int64_t width) {
    return whole_neurons(options, count, width);
  };
  const FfnOptions share = ffn(0.2, true, NeuronScore::Wanda), number = ffn(2202, false, NeuronScore::Wanda);
  EXPECT_EQ(whole(share, 2202, 11008), 2208);  // the nearest multiple of 32
  EXPECT_EQ(whole(share, 2223, 11008), 2208);
  EXPECT_EQ(whole(share, 3, 11008), 32);
  EXPECT_EQ(whole(share, 0, 11008), 0);
  EXPECT_EQ(whole(share, 10999, 11000), 11000);  // never more than there are
  EXPECT_EQ(whole(share, 35, 176), 35);
  EXPECT_EQ(whole(number, 2202, 11008), 2202);
  FfnOptions of_128 = number;
  of_128.multiple = 128;
  EXPECT_EQ(whole(of_128, 2202, 11008), 2176);
  FfnOptions of_one = share;
  of_one.multiple = 1;
  EXPECT_EQ(whole(of_one, 2202, 11008), 2202);

  const Statistics s = small_statistics();
  FfnOptions pairs = ffn(0.5, true, NeuronScore::Wanda, Scope::Model);  // {1, 2} and {0} alone
  pairs.multiple = 2;
  EXPECT_EQ(select_neurons(s, pairs, "t"), (Sets{{{1, 2}}, {{0, 2}}}));
  pairs.scope = Scope::Layer;
  pairs.keep = {.fraction = false, .value = 1};
  EXPECT_EQ(select_neurons(s, pairs, "t"), (Sets{{{1, 2}}, {{0, 2}}}));
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

Sets sets_of(const Plan& plan) {
  Sets sets;
  for (const LayerPlan& layer : plan.layers) sets.push_back(layer.neurons);
  return sets;
}

TEST(MakePlan, CombinesAndRecordsWhereItCameFrom) {
  const Plan plan = make_plan(small_statistics(), every_option(), small_spec(), "recipe");
  for (const LayerPlan& layer : plan.layers) EXPECT_EQ(layer.window, (Window{3, true}));
  EXPECT_EQ(visual_layers(plan), 2);
  EXPECT_EQ(head_mask(plan), (HeadMask{{0, 1}, {1, 0}}));
  EXPECT_EQ(update_mask(plan), (HeadMask{{0, 0}, {0, 0}}));
  EXPECT_EQ(sets_of(plan), (Sets{{{1}}, {{0}}}));
  Json provenance = parse_json(R"({"statistics": "abc", "samples": 1, "queries": "prefill", "options": {
      "window": {"size": 3, "causal": true}, "heads": {"keep": 1, "scope": "layer", "exempt_layers": 0},
      "updates": {"keep": 0, "scope": "layer", "exempt_layers": 0},
      "ffn": {"keep": 1, "score": "wanda", "scope": "layer"}, "semantics": "skip"}})",
                               "t");
  EXPECT_EQ(plan.provenance.at("tool"), fmt::format("yopo {}", tool_version));
  for (const auto& [key, value] : provenance.items()) EXPECT_EQ(plan.provenance.at(key), value) << key;
  EXPECT_EQ(plan.provenance.size(), provenance.size() + 1);
  EXPECT_EQ(make_plan(small_statistics(), every_option(), small_spec(), "recipe"), plan);
  EXPECT_TRUE(is_dense(make_plan(small_statistics(), PlanOptions{}, small_spec(), "recipe"), small_spec()));
}

TEST(MakePlan, LayersPastVisualLayersAreLeftAsTheyAre) {
  PlanOptions options = every_option();
  options.visual_layers = Keep{.fraction = false, .value = 1};
  const Plan plan = make_plan(small_statistics(), options, small_spec(), "recipe");
  EXPECT_EQ(head_mask(plan), (HeadMask{{0, 1}, {1, 1}}));
  EXPECT_EQ(update_mask(plan), (HeadMask{{0, 0}, {1, 1}}));
  EXPECT_EQ(sets_of(plan), (Sets{{{1}}, std::nullopt}));
  EXPECT_EQ(visual_layers(plan), 1);
  // A published simulation masks every layer.
  options.semantics = "llava";
  const Plan simulated = make_plan(small_statistics(), options, small_spec(), "recipe");
  EXPECT_EQ(head_mask(simulated), (HeadMask{{0, 1}, {1, 0}}));
  EXPECT_EQ(sets_of(simulated), (Sets{{{1}}, {{0}}}));
}

TEST(MakePlan, RefusesWhatDoesNotFit) {
  DecoderSpec spec = small_spec();
  spec.intermediate_size = 4;
  EXPECT_USER_ERROR((void)make_plan(small_statistics(), {}, spec, "recipe"), "another model");
  PlanOptions options;
  options.visual_layers = Keep{.fraction = false, .value = 3};
  EXPECT_USER_ERROR((void)make_plan(small_statistics(), options, small_spec(), "recipe"),
                    "recipe: visual_layers: 3 layers are above the 2");
  options = {};
  options.window = WindowOptions{4, false};
  EXPECT_USER_ERROR((void)make_plan(small_statistics(), options, small_spec(), "recipe"), "odd");
  options = {};
  options.semantics = "slip";
  EXPECT_USER_ERROR((void)make_plan(small_statistics(), options, small_spec(), "recipe"), "did you mean 'skip'?");
}

Keep count(double value) { return {.fraction = false, .value = value}; }

std::vector<LayerCounts> counts_of(const Plan& plan, const DecoderSpec& spec) {
  std::vector<LayerCounts> counts;
  for (const LayerPlan& layer : plan.layers) counts.push_back(layer_counts(layer, spec));
  return counts;
}

TEST(SizedPlan, HasTheCountsOfThePlanWithStatistics) {
  const DecoderSpec spec = small_spec();
  const SizedPlan sized = sized_plan(every_option(), spec, "recipe");
  EXPECT_TRUE(sized.known);
  EXPECT_FALSE(sized.spread);
  const Plan plan = make_plan(small_statistics(), every_option(), spec, "recipe");
  EXPECT_EQ(counts_of(sized.plan, spec), counts_of(plan, spec));
  EXPECT_EQ(sized.plan.layers[0].window, plan.layers[0].window);
}

TEST(SizedPlan, AcrossTheModelSpreadsEvenly) {
  DecoderSpec spec = small_spec();
  spec.num_hidden_layers = 5;
  spec.num_attention_heads = spec.num_key_value_heads = 8;
  spec.intermediate_size = 10;
  PlanOptions options;
  options.visual_layers = Keep{.fraction = true, .value = 0.8};
  options.heads.emplace();
  options.heads->keep = count(23);
  options.heads->scope = Scope::Model;
  options.heads->exempt_layers = 1;
  options.updates.emplace();
  options.updates->keep = Keep{.fraction = true, .value = 0.25};
  options.updates->scope = Scope::Model;
  options.ffn = FfnOptions{count(27), NeuronScore::Rms, Scope::Model};
  const SizedPlan sized = sized_plan(options, spec, "recipe: plan");
  EXPECT_TRUE(sized.spread);
  EXPECT_EQ(counts_of(sized.plan, spec),
            (std::vector<LayerCounts>{{8, 2, 8, 7}, {5, 2, 5, 7}, {5, 2, 5, 7}, {5, 2, 5, 6}, {}}));
  EXPECT_EQ(sized.plan.layers[4].heads, HeadFlags(8, 1)) << "a skip plan leaves the others whole";

  options.heads->keep = count(33);
  EXPECT_USER_ERROR((void)sized_plan(options, spec, "recipe: plan"),
                    "recipe: plan: heads: keep: 33 heads are above the 32 that 4 layers have");
  options.heads->keep = count(7);
  EXPECT_USER_ERROR((void)sized_plan(options, spec, "recipe: plan"), "the 1 exempt layers alone keep 8");
  options.heads->keep = count(8);
  options.updates->keep = count(9);
  EXPECT_USER_ERROR((void)sized_plan(options, spec, "recipe: plan"), "9 heads are above the 8 that 'heads' keeps");
  options.updates.reset();
  options.ffn->keep = count(41);
  EXPECT_USER_ERROR((void)sized_plan(options, spec, "recipe: plan"), "41 neurons are above the 40");
}

TEST(SizedPlan, AThresholdIsNotKnownAndSemanticsStay) {
  PlanOptions options;
  options.heads.emplace();
  options.heads->threshold = 0.5;
  options.semantics = "llava";
  const SizedPlan sized = sized_plan(options, small_spec(), "recipe");
  EXPECT_FALSE(sized.known);
  EXPECT_EQ(sized.plan.semantics, Semantics::Llava);
  EXPECT_EQ(sized.plan.provenance.at("options").at("heads").at("threshold"), 0.5);
  EXPECT_TRUE(needs_statistics(options));
  options.heads.reset();
  EXPECT_FALSE(needs_statistics(options));
  options.semantics = "slip";
  EXPECT_USER_ERROR((void)sized_plan(options, small_spec(), "recipe"), "did you mean 'skip'?");
}

TEST(RandomPlan, KeepsTheCountsAndNothingElse) {
  DecoderSpec spec = small_spec();
  spec.num_attention_heads = 16;
  spec.num_key_value_heads = 4;
  spec.intermediate_size = 40;
  Plan like = dense_plan(spec);
  like.layers[1].window = Window{5, false};
  for (size_t head = 0; head < 8; ++head) like.layers[1].heads[head] = 0;
  for (size_t head = 0; head < 12; ++head) like.layers[1].updates[head] = 0;
  like.layers[0].neurons = Neurons{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const Plan plan = random_plan(like, spec, 7);
  const auto flags = [](const HeadFlags& row) { return std::count(row.begin(), row.end(), uint8_t(1)); };
  for (size_t l = 0; l < like.layers.size(); ++l) {
    const LayerPlan &drawn = plan.layers[l], &before = like.layers[l];
    EXPECT_EQ(flags(drawn.heads), flags(before.heads));
    EXPECT_EQ(flags(drawn.updates), flags(before.updates));
    EXPECT_EQ(layer_counts(drawn, spec).neurons, layer_counts(before, spec).neurons);
    EXPECT_EQ(drawn.window, before.window);
  }
  EXPECT_NE(head_mask(plan), head_mask(like));
  EXPECT_NE(sets_of(plan), sets_of(like));
  EXPECT_EQ(random_plan(like, spec, 7), plan);
  const Plan other = random_plan(like, spec, 8);
  EXPECT_NE(head_mask(other), head_mask(plan));
  EXPECT_NE(sets_of(other), sets_of(plan));
}

TEST(RandomPlan, IsTheSameOnEveryMachine) {
  DecoderSpec spec = small_spec();
  spec.num_hidden_layers = 1;
  spec.intermediate_size = 1000;
  Plan like = dense_plan(spec);
  like.layers[0].neurons = Neurons{0, 1, 2, 3, 4};
  EXPECT_EQ(random_plan(like, spec, 1).layers[0].neurons, (std::vector<int64_t>{54, 423, 486, 900, 933}));
}

TEST(RandomPlan, EveryNeuronIsAsLikely) {
  DecoderSpec spec = small_spec();
  spec.num_hidden_layers = 1;
  Plan like = dense_plan(spec);
  like.layers[0].neurons = Neurons{0};
  std::vector<int> hits(3, 0);
  for (uint64_t seed = 0; seed < 3000; ++seed) ++hits[size_t(random_plan(like, spec, seed).layers[0].neurons->front())];
  for (int hit : hits) EXPECT_NEAR(hit, 1000, 130);  // five standard deviations
}

TEST(Version, IsTheProjects) {
  const std::string cmake = testing::read_file(fs::path(YOPO_SOURCE_DIR) / "CMakeLists.txt");
  EXPECT_NE(cmake.find(fmt::format("project(yopo VERSION {} ", tool_version)), std::string::npos);
}

}  // namespace
}  // namespace yopo
