#include "plans/plan.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

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
  return parse_json(R"({"format": "yopo-plan", "version": 2, "semantics": "skip", "layers": [
    {"window": {"size": 5, "causal": true}, "heads": [1,1,1,1], "updates": [1,1,0,0]},
    {"window": {"size": 3}, "heads": [1,0,true,false], "updates": [0,0,1,0], "neurons": [0,3,9]},
    {"alive": false, "window": null, "heads": [0,0,0,0], "neurons": []}], "provenance": {"note": "x"}})",
                    "test");
}

Json version_1() {
  return parse_json(R"({"format": "yopo-plan", "version": 1, "semantics": "skip", "window": {"size": 5, "causal": true},
    "visual_layers": 2, "heads": [[1,1,1,1],[1,0,true,false],[0,0,0,0]], "updates": [[1,1,0,0],[0,0,1,0],[0,0,0,0]],
    "ffn": [null, [0,3,9], []], "provenance": {"note": "x"}})",
                    "test");
}

TEST(Plan, ReadsWhatItSays) {
  const Plan plan = plan_from_json(small_json(), "test");
  EXPECT_EQ(plan.semantics, Semantics::Skip);
  ASSERT_EQ(plan.layers.size(), 3u);
  EXPECT_EQ(plan.layers[0], (LayerPlan{Window{5, true}, {1, 1, 1, 1}, {1, 1, 0, 0}, std::nullopt, true}));
  EXPECT_EQ(plan.layers[1], (LayerPlan{Window{3, false}, {1, 0, 1, 0}, {0, 0, 1, 0}, Neurons{0, 3, 9}, true}));
  EXPECT_EQ(plan.layers[2], (LayerPlan{std::nullopt, {0, 0, 0, 0}, {0, 0, 0, 0}, Neurons{}, false}));
  EXPECT_EQ(plan.provenance, parse_json(R"({"note": "x"})", "test"));
  EXPECT_EQ(visual_layers(plan), 2);
  EXPECT_EQ(head_mask(plan), (HeadMask{{1, 1, 1, 1}, {1, 0, 1, 0}, {0, 0, 0, 0}}));
  EXPECT_EQ(update_mask(plan), (HeadMask{{1, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 0}}));
  check_plan(plan, small_spec(), "test");
}

TEST(Plan, Version1SaysTheSame) {
  Plan plan = plan_from_json(version_1(), "test"), expected = plan_from_json(small_json(), "test");
  set_window(expected, Window{5, true});
  EXPECT_EQ(plan, expected);
  Json json = version_1();
  json.erase("updates");
  plan = plan_from_json(json, "test");
  EXPECT_EQ(update_mask(plan), head_mask(plan));
}

TEST(Plan, NothingIsCountedWhereNoVisualTokenIs) {
  const DecoderSpec spec = small_spec();
  LayerPlan layer = dense_plan(spec).layers[0];
  EXPECT_EQ(layer_counts(layer, spec), (LayerCounts{4, 4, 2, 10}));
  layer.heads = {1, 0, 0, 0}, layer.updates = {0, 0, 0, 0}, layer.neurons = Neurons{1, 2, 7};
  EXPECT_EQ(layer_counts(layer, spec), (LayerCounts{1, 0, 1, 3}));
  layer.alive = false;
  EXPECT_EQ(layer_counts(layer, spec), LayerCounts{});
}

TEST(Plan, DenseIsDenseAndEveryCutIsNot) {
  const DecoderSpec spec = small_spec();
  const Plan dense = dense_plan(spec);
  check_plan(dense, spec, "test");
  EXPECT_TRUE(is_dense(dense, spec));
  Plan plan = dense;
  plan.layers[0].neurons = Neurons{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_TRUE(is_dense(plan, spec));
  const auto cut = [&](auto change) {
    Plan changed = dense;
    change(changed);
    EXPECT_FALSE(is_dense(changed, spec));
  };
  cut([](Plan& p) { p.layers[2].updates[3] = 0; });
  cut([](Plan& p) { p.layers[0].heads[0] = 0; });
  cut([](Plan& p) { p.layers[1].window = Window{3, false}; });
  cut([](Plan& p) { set_visual_layers(p, 2); });
  cut([](Plan& p) { p.layers.pop_back(); });
  cut([](Plan& p) { p.layers[2].neurons = Neurons{0, 1, 2, 3, 4, 5, 6, 7, 8}; });
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
  "version": 2,
  "semantics": "skip",
  "layers": [
    {"window":{"size":5,"causal":true},"heads":[1,1,1,1],"updates":[1,1,0,0]},
    {"window":{"size":3,"causal":false},"heads":[1,0,1,0],"updates":[0,0,1,0],"neurons":[0,3,9]},
    {"alive":false,"heads":[0,0,0,0],"neurons":[]}
  ],
  "provenance": {"note":"x"}
}
)");
}

TEST(Plan, JsonBuiltInMemoryReadsAsWell) {
  const Plan plan = plan_from_json(small_json(), "test");
  EXPECT_EQ(plan_from_json(plan_to_json(plan), "test"), plan);
}

void refuse(Json json, const char* key, Json value, const char* part) {
  json[key] = std::move(value);
  SCOPED_TRACE(json.dump());
  EXPECT_USER_ERROR((void)plan_from_json(json, "my.plan.json"), part);
  EXPECT_USER_ERROR((void)plan_from_json(json, "my.plan.json"), "my.plan.json");
}

TEST(Plan, RefusesWhatIsNoPlan) {
  const auto wrong = [](const char* key, Json value, const char* part) {
    refuse(small_json(), key, std::move(value), part);
  };
  wrong("format", "yopo", "yopo-plan");
  wrong("version", 3, "versions 1 and 2");
  wrong("version", 1, "unknown key 'layers'");
  wrong("semantics", "skipp", "did you mean 'skip'?");
  wrong("layer", 3, "did you mean 'layers'?");
  wrong("visual_layers", 2, "unknown key 'visual_layers'");
  wrong("provenance", 1, "provenance");
  wrong("layers", Json::array(), "no layers");
  wrong("layers", Json::array({5}), "layer 0: expected an object");
  const auto layer = [](const char* key, Json value, const char* part) {
    Json layers = small_json()["layers"];
    layers[1][key] = std::move(value);
    refuse(small_json(), "layers", layers, part);
    refuse(small_json(), "layers", layers, "layer 1: ");
  };
  layer("head", 1, "did you mean 'heads'?");
  layer("alive", 1, "alive");
  layer("window", 5, "window");
  layer("window", Json::object({{"size", 4}}), "even");
  layer("window", Json::object({{"size", -1}}), "size");
  layer("window", Json::object({{"size", 65537}}), "in [1, 65535]");
  layer("window", Json::object({{"size", 3}, {"casual", true}}), "did you mean 'causal'?");
  layer("heads", Json::array({1, 2, 0, 0}), "heads, head 1: expected 0 or 1");
  layer("heads", Json::array({1, 0.5, 0, 0}), "heads, head 1");
  layer("heads", 1, "'heads' should be an array");
  layer("updates", 1, "updates: expected an array");
  layer("updates", Json::array({1}), "updates: 1 heads, but heads has 4");
  layer("neurons", Json::array({3, 3}), "must ascend");
  layer("neurons", Json::array({3, 2}), "must ascend");
  layer("neurons", Json::array({-1}), "neuron index");
  layer("neurons", Json::array({uint64_t(1) << 63}), "neuron index");
  layer("neurons", 5, "expected null or an array");
  for (const char* key : {"format", "version", "semantics", "layers"}) {
    Json json = small_json();
    json.erase(key);
    EXPECT_USER_ERROR((void)plan_from_json(json, "p"), key);
  }
  EXPECT_USER_ERROR((void)plan_from_json(Json::array(), "p"), "object");
}

TEST(Plan, RefusesWhatIsNoPlanOfVersion1) {
  const auto wrong = [](const char* key, Json value, const char* part) {
    refuse(version_1(), key, std::move(value), part);
  };
  wrong("visual_layer", 3, "did you mean 'visual_layers'?");
  wrong("layers", Json::array(), "unknown key 'layers'");
  wrong("window", Json::object({{"size", 4}}), "even");
  wrong("visual_layers", 4, "visual_layers");
  wrong("visual_layers", -1, "visual_layers");
  wrong("heads", parse_json("[[1,1,0,0],[0,0,2,0],[1,1,1,1]]", "t"), "heads: layer 1, head 2");
  wrong("heads", Json::array({1, 1, 1}), "layer 0");
  wrong("updates", Json::array({Json::array({1})}), "updates: 1 layers");
  wrong("updates", Json::array({Json::array({1}), Json::array({1}), Json::array({1})}), "updates: layer 0: 1 heads");
  wrong("ffn", Json::array({nullptr, nullptr}), "ffn: 2 layers");
  wrong("ffn", Json::array({nullptr, Json::array({3, 3}), nullptr}), "must ascend");
  wrong("ffn", Json::array({nullptr, 5, nullptr}), "layer 1");
  for (const char* key : {"visual_layers", "heads", "ffn"}) {
    Json json = version_1();
    json.erase(key);
    EXPECT_USER_ERROR((void)plan_from_json(json, "p"), key);
  }
  Json none = version_1();
  none["heads"] = none["updates"] = none["ffn"] = Json::array(), none["visual_layers"] = 0;
  EXPECT_USER_ERROR((void)plan_from_json(none, "p"), "no layers");
}

TEST(Plan, RefusesHostileSizes) {
  Json json = small_json();
  for (int i = 0; i < 4097; ++i) json["layers"].push_back(Json::object());
  EXPECT_USER_ERROR((void)plan_from_json(json, "p"), "4100 layers");
  json = version_1();
  for (int i = 0; i < 4097; ++i) json["heads"].push_back(Json::array());
  EXPECT_USER_ERROR((void)plan_from_json(json, "p"), "4100 layers");
  json = small_json();
  json["layers"][0]["heads"] = Json(std::vector<int>(4097, 1));
  EXPECT_USER_ERROR((void)plan_from_json(json, "p"), "4097 heads");
  json = small_json();
  json["layers"][0]["neurons"] = Json::array({(int64_t(1) << 20)});
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
  refuse([](Plan& p) { p.layers.pop_back(); }, "2 layers, but the model has 3");
  refuse([](Plan& p) { p.layers[1].heads.push_back(1); }, "layer 1: heads: 5 heads, but the model has 4");
  refuse([](Plan& p) { p.layers[1].updates.pop_back(); }, "layer 1: updates: 3 heads");
  refuse([](Plan& p) { p.layers[2].heads[1] = 0; }, "layer 2: updates: head 1 is updated");
  refuse([](Plan& p) { p.layers[1].neurons = Neurons{10}; }, "neuron 10, but the model has 10");
  refuse([](Plan& p) { p.layers[1].neurons = Neurons{-1}; }, "neuron -1");
  refuse([](Plan& p) { p.layers[1].neurons = Neurons{2, 2}; }, "must ascend");
  refuse([](Plan& p) { p.layers[2].window = Window{2, false}; }, "layer 2: window: size 2");
  refuse([](Plan& p) { p.layers[1].alive = false; }, "layer 2 is alive after layer 1");
}

TEST(Plan, MasksHaveARowForEachLayer) {
  Plan plan = dense_plan(small_spec());
  set_heads(plan, {{1, 0, 0, 0}, {1, 1, 0, 0}, {1, 1, 1, 0}});
  EXPECT_EQ(update_mask(plan), head_mask(plan));
  set_updates(plan, {{0, 0, 0, 0}, {1, 0, 0, 0}, {1, 0, 1, 0}});
  EXPECT_EQ(plan.layers[2], (LayerPlan{std::nullopt, {1, 1, 1, 0}, {1, 0, 1, 0}, std::nullopt, true}));
  EXPECT_THROW(set_heads(plan, {{1, 1, 1, 1}}), InternalError);
  EXPECT_THROW(set_updates(plan, {}), InternalError);
}

TEST(Plan, SemanticsHaveNames) {
  for (Semantics semantics : {Semantics::Skip, Semantics::Llava, Semantics::Qwen2Vl})
    EXPECT_EQ(parse_semantics(name_of(semantics), "test"), semantics);
  EXPECT_USER_ERROR((void)parse_semantics("qwen2vl", "test"), "did you mean 'qwen2_vl'?");
}

}  // namespace
}  // namespace yopo
