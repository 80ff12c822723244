#include "plans/plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path fixtures = fs::path(YOPO_TEST_DATA) / "fixtures";

DecoderSpec small_spec() {
  DecoderSpec spec;
  spec.num_hidden_layers = 3;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 8;
  spec.hidden_size = 32;
  spec.intermediate_size = 10;
  return spec;
}

Json small_json() {
  return parse_json(R"({"format": "yopo-plan", "version": 1, "semantics": "skip", "window": {"size": 5, "causal": true},
    "visual_layers": 2, "heads": [[1,1,1,1],[1,0,true,false],[0,0,0,0]], "updates": [[1,1,0,0],[0,0,1,0],[0,0,0,0]],
    "ffn": [null, [0,3,9], []], "provenance": {"note": "x"}})",
                    "test");
}

struct FixturePlan {
  fs::path plan, config;
};
std::vector<FixturePlan> fixture_plans() {
  std::vector<FixturePlan> found;
  for (const char* family : {"llava_hf", "llava_orig"})
    for (const auto& entry : fs::recursive_directory_iterator(fixtures / family / "cases"))
      if (entry.path().string().ends_with(".plan.json"))
        found.push_back({entry.path(), fixtures / family / "model" / "config.json"});
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.plan < b.plan; });
  return found;
}

TEST(Plan, FixturesParseFitTheirModelAndRoundTrip) {
  const auto plans = fixture_plans();
  ASSERT_EQ(plans.size(), 21u);
  testing::TemporaryFolder folder;
  for (const auto& [path, config] : plans) {
    SCOPED_TRACE(path.string());
    const DecoderSpec spec = spec_from_config(read_json(config), config.string()).text;
    const Plan plan = read_plan(path);
    check_plan(plan, spec, path.string());
    EXPECT_FALSE(is_dense(plan, spec));
    write_plan(folder / "plan.json", plan);
    EXPECT_EQ(read_plan(folder / "plan.json"), plan);
    // Every member of the file came through, and nothing but the (absent) provenance was added.
    Json written = read_json(folder / "plan.json"), original = read_json(path);
    EXPECT_EQ(written["provenance"], Json::object());
    written.erase("provenance");
    EXPECT_EQ(written, original);
  }
}

TEST(Plan, ReadsWhatItSays) {
  const Plan plan = plan_from_json(small_json(), "test");
  EXPECT_EQ(plan.semantics, Semantics::Skip);
  EXPECT_EQ(plan.window, (Window{5, true}));
  EXPECT_EQ(plan.visual_layers, 2);
  EXPECT_EQ(plan.heads, (HeadMask{{1, 1, 1, 1}, {1, 0, 1, 0}, {0, 0, 0, 0}}));
  EXPECT_EQ(plan.updates, (HeadMask{{1, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 0}}));
  ASSERT_EQ(plan.ffn.size(), 3u);
  EXPECT_FALSE(plan.ffn[0]);
  EXPECT_EQ(plan.ffn[1], (std::vector<int64_t>{0, 3, 9}));
  EXPECT_EQ(plan.ffn[2], std::vector<int64_t>{});
  check_plan(plan, small_spec(), "test");
}

TEST(Plan, CountsStopAtVisualLayers) {
  Plan plan = dense_plan(small_spec());
  plan.visual_layers = 2;
  plan.heads[1] = {1, 0, 1, 0};
  EXPECT_EQ(plan.head_counts(), (std::vector<int64_t>{4, 2, 0}));
  EXPECT_EQ(plan.update_counts(), (std::vector<int64_t>{4, 2, 0}));
  plan.updates = plan.heads;
  (*plan.updates)[0] = {0, 0, 0, 1};
  EXPECT_EQ(plan.update_counts(), (std::vector<int64_t>{1, 2, 0}));
  plan.ffn[1] = std::vector<int64_t>{1, 2, 7};
  EXPECT_EQ(plan.ffn_counts(10), (std::vector<int64_t>{10, 3, 10}));
}

TEST(Plan, DenseIsDenseAndEveryCutIsNot) {
  const DecoderSpec spec = small_spec();
  const Plan dense = dense_plan(spec);
  check_plan(dense, spec, "test");
  EXPECT_TRUE(is_dense(dense, spec));
  Plan plan = dense;
  plan.ffn[0] = std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  plan.updates = plan.heads;
  EXPECT_TRUE(is_dense(plan, spec));
  (*plan.updates)[2][3] = 0;
  EXPECT_FALSE(is_dense(plan, spec));
  plan = dense;
  plan.window = Window{3, false};
  EXPECT_FALSE(is_dense(plan, spec));
  plan = dense;
  plan.visual_layers = 2;
  EXPECT_FALSE(is_dense(plan, spec));
  plan = dense;
  plan.heads[0][0] = 0;
  EXPECT_FALSE(is_dense(plan, spec));
  plan = dense;
  plan.ffn[2] = std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_FALSE(is_dense(plan, spec));
}

TEST(Plan, WrittenALayerALineAndAlwaysTheSame) {
  testing::TemporaryFolder folder;
  const Plan plan = plan_from_json(small_json(), "test");
  write_plan(folder / "a.json", plan);
  write_plan(folder / "b.json", read_plan(folder / "a.json"));
  const std::string text = testing::read_file(folder / "a.json");
  EXPECT_EQ(text, testing::read_file(folder / "b.json"));
  EXPECT_EQ(text, R"({
  "format": "yopo-plan",
  "version": 1,
  "semantics": "skip",
  "window": {"size":5,"causal":true},
  "visual_layers": 2,
  "heads": [
    [1,1,1,1],
    [1,0,1,0],
    [0,0,0,0]
  ],
  "updates": [
    [1,1,0,0],
    [0,0,1,0],
    [0,0,0,0]
  ],
  "ffn": [
    null,
    [0,3,9],
    []
  ],
  "provenance": {"note":"x"}
}
)");
}

TEST(Plan, JsonBuiltInMemoryReadsAsWell) {
  const Plan plan = plan_from_json(small_json(), "test");
  EXPECT_EQ(plan_from_json(plan_to_json(plan), "test"), plan);
}

TEST(Plan, RefusesWhatIsNoPlan) {
  const auto refuse = [](const char* key, Json value, const char* part) {
    Json json = small_json();
    json[key] = std::move(value);
    SCOPED_TRACE(json.dump());
    EXPECT_USER_ERROR((void)plan_from_json(json, "my.plan.json"), part);
    EXPECT_USER_ERROR((void)plan_from_json(json, "my.plan.json"), "my.plan.json");
  };
  refuse("format", "yopo", "yopo-plan");
  refuse("version", 2, "version 1");
  refuse("semantics", "skipp", "did you mean 'skip'?");
  refuse("visual_layer", 3, "did you mean 'visual_layers'?");
  refuse("window", 5, "window");
  refuse("window", Json::object({{"size", 4}}), "even");
  refuse("window", Json::object({{"size", -1}}), "size");
  refuse("window", Json::object({{"size", 3}, {"casual", true}}), "did you mean 'causal'?");
  refuse("visual_layers", 4, "visual_layers");
  refuse("visual_layers", -1, "visual_layers");
  refuse("heads", Json::array({Json::array({1}), Json::array({2}), Json::array({1})}), "layer 1, head 0");
  refuse("heads", Json::array({Json::array({1}), Json::array({0.5}), Json::array({1})}), "layer 1, head 0");
  refuse("heads", Json::array({1, 1, 1}), "layer 0");
  refuse("heads", Json::array(), "no layers");
  refuse("updates", Json::array({Json::array({1})}), "updates: 1 layers");
  refuse("ffn", Json::array({nullptr, nullptr}), "ffn: 2 layers");
  refuse("ffn", Json::array({nullptr, Json::array({3, 3}), nullptr}), "must ascend");
  refuse("ffn", Json::array({nullptr, Json::array({3, 2}), nullptr}), "must ascend");
  refuse("ffn", Json::array({nullptr, Json::array({-1}), nullptr}), "neuron index");
  refuse("ffn", Json::array({nullptr, Json::array({uint64_t(1) << 63}), nullptr}), "neuron index");
  refuse("ffn", Json::array({nullptr, 5, nullptr}), "layer 1");
  refuse("provenance", 1, "provenance");
  for (const char* key : {"format", "version", "semantics", "visual_layers", "heads", "ffn"}) {
    Json json = small_json();
    json.erase(key);
    EXPECT_USER_ERROR((void)plan_from_json(json, "p"), key);
  }
  EXPECT_USER_ERROR((void)plan_from_json(Json::array(), "p"), "object");
}

TEST(Plan, RefusesHostileSizes) {
  Json json = small_json();
  json["heads"] = Json::array();
  for (int i = 0; i < 4097; ++i) json["heads"].push_back(Json::array());
  EXPECT_USER_ERROR((void)plan_from_json(json, "p"), "4097 layers");
  json = small_json();
  json["heads"][0] = Json(std::vector<int>(4097, 1));
  EXPECT_USER_ERROR((void)plan_from_json(json, "p"), "4097 heads");
  json = small_json();
  json["ffn"][0] = Json::array({(int64_t(1) << 20)});
  EXPECT_USER_ERROR((void)plan_from_json(json, "p"), "1048576");
}

TEST(Plan, ChecksAgainstTheModel) {
  const DecoderSpec spec = small_spec();
  const auto refuse = [&](auto change, const char* part) {
    Plan plan = dense_plan(spec);
    change(plan);
    EXPECT_USER_ERROR(check_plan(plan, spec, "here"), part);
    EXPECT_USER_ERROR(check_plan(plan, spec, "here"), "here");
  };
  refuse([](Plan& p) { p.heads.pop_back(); }, "heads: 2 layers, but the model has 3");
  refuse([](Plan& p) { p.heads[1].push_back(1); }, "layer 1: 5 heads, but the model has 4");
  refuse([](Plan& p) { p.updates = HeadMask{{1, 1, 1, 1}}; }, "updates: 1 layers");
  refuse([](Plan& p) { p.updates = p.heads, p.heads[2][1] = 0; }, "layer 2, head 1");
  refuse([](Plan& p) { p.ffn.pop_back(); }, "ffn: 2 layers");
  refuse([](Plan& p) { p.ffn[1] = std::vector<int64_t>{10}; }, "neuron 10, but the model has 10");
  refuse([](Plan& p) { p.ffn[1] = std::vector<int64_t>{-1}; }, "neuron -1");
  refuse([](Plan& p) { p.ffn[1] = std::vector<int64_t>{2, 2}; }, "must ascend");
  refuse([](Plan& p) { p.window = Window{2, false}; }, "size 2");
  refuse([](Plan& p) { p.visual_layers = 4; }, "the model has 3 layers");
  refuse([](Plan& p) { p.visual_layers = -1; }, "visual_layers");
}

TEST(Plan, SemanticsHaveNames) {
  for (Semantics semantics : {Semantics::Skip, Semantics::Llava, Semantics::Qwen2Vl})
    EXPECT_EQ(parse_semantics(name_of(semantics), "test"), semantics);
  EXPECT_USER_ERROR((void)parse_semantics("qwen2vl", "test"), "did you mean 'qwen2_vl'?");
}

}  // namespace
}  // namespace yopo
