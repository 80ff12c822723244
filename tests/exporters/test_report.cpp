#include "exporters/report.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "plans/layer_json.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path model = fs::path(YOPO_TEST_DATA) / "fixtures" / "llava_hf";

ModelSpec llava_7b() {
  ModelSpec spec;
  spec.dtype = DType::F16;
  spec.text.num_hidden_layers = 32;
  spec.text.hidden_size = 4096;
  spec.text.num_attention_heads = spec.text.num_key_value_heads = 32;
  spec.text.head_dim = 128;
  spec.text.intermediate_size = 11008;
  spec.text.vocab_size = 32064;
  spec.vision.image_size = 336;
  spec.vision.patch_size = 14;
  return spec;
}

TEST(Report, DenseModelSpendsEverything) {
  const ModelSpec spec = llava_7b();
  const Json json = report(dense_plan(spec.text), spec, typical_prompt(spec), spec.dtype);
  EXPECT_EQ(json["prompt"]["visual"], 576);
  EXPECT_EQ(json["prompt"]["text"], 99);
  EXPECT_NEAR(json["flops"]["paper_visual"]["dense"].get<double>(), 7.63e12, 0.01e12);  // the paper's figure
  for (const auto& [name, pair] : json["flops"].items()) {
    EXPECT_EQ(pair["kept"], 1.0) << name;
    EXPECT_EQ(pair["dense"], pair["plan"]) << name;
  }
  EXPECT_EQ(json["kv_bytes"]["dense"], int64_t(675) * 32 * 2 * 4096 * 2);
  EXPECT_EQ(json["kv_bytes"]["plan"], json["kv_bytes"]["dense"]);
}

TEST(Report, APlanByLayerAndInAll) {
  const ModelSpec spec = llava_7b();
  Plan plan = dense_plan(spec.text);
  set_window(plan, Window{5, false});
  set_visual_layers(plan, 16);
  for (LayerPlan& layer : plan.layers) {
    std::fill(layer.heads.begin() + 24, layer.heads.end(), uint8_t(0));
    layer.updates = layer.heads;
    layer.neurons.emplace();
    for (int64_t neuron = 0; neuron < 5504; ++neuron) layer.neurons->push_back(neuron);
  }
  plan.layers[3].updates.assign(32, 0);
  const Json json = report(plan, spec, typical_prompt(spec), spec.dtype);
  ASSERT_EQ(json["layers"].size(), 32u);
  EXPECT_EQ(json["layers"][0], parse_json(R"({"layer": 0, "heads": 24, "updates": 24, "kv_heads": 24, "neurons": 5504,
               "window": {"size": 5, "causal": false}})",
                                          "t"));
  EXPECT_EQ(json["layers"][3], parse_json(R"({"layer": 3, "heads": 24, "updates": 0, "kv_heads": 24, "neurons": 5504,
               "window": {"size": 5, "causal": false}})",
                                          "t"));
  EXPECT_EQ(json["layers"][16],
            parse_json(R"({"layer": 16, "heads": 0, "updates": 0, "kv_heads": 0, "neurons": 0, "window": null})", "t"));
  EXPECT_EQ(json["kv_bytes"]["plan"], (int64_t(99) * 32 * 32 + int64_t(576) * 16 * 24) * 2 * 128 * 2);
  const auto& flops = json["flops"];
  const PromptShape prompt = typical_prompt(spec).shapes.at(0);
  EXPECT_EQ(flops["exact_prefill"]["plan"].get<double>(), prefill_cost(plan, spec.text, prompt).flops());
  EXPECT_EQ(flops["exact_visual"]["plan"].get<double>(), visual_cost(plan, spec.text, prompt).flops());
  EXPECT_EQ(flops["exact_decode"]["plan"].get<double>(), decode_cost(plan, spec.text, prompt, 0).flops());
  EXPECT_LT(flops["paper_visual"]["kept"], 0.285);
  const std::string text = report_text(json);
  for (const char* part :
       {"skip, window 5, visual tokens in layers 0 - 15", "\n    0 - 2      24        24         24      5504\n",
        "\n        3      24         0         24      5504\n", "\n  16 - 31       0         0          0         0\n",
        "visual tokens, paper convention", "7.63 TFLOP"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(Report, AnotherPromptAndNoImage) {
  const ModelSpec spec = llava_7b();
  const Json json = report(dense_plan(spec.text), spec, Prompts{"text alone", {PromptShape{10, {}}}}, spec.dtype);
  EXPECT_EQ(json["prompt"]["visual"], 0);
  EXPECT_TRUE(json["flops"]["paper_visual"]["kept"].is_null());
  EXPECT_NE(report_text(json).find("     -\n"), std::string::npos);
}

TEST(Report, MeansOverThePrompts) {
  const ModelSpec spec = llava_7b();
  Plan plan = dense_plan(spec.text);
  set_window(plan, Window{3, false});
  set_visual_layers(plan, 9);
  const PromptShape small = single_image_shape(3, 4, 5, 9), large = single_image_shape(1, 20, 10, 2);
  const Json a = report(plan, spec, {"small", {small}}, spec.dtype),
             b = report(plan, spec, {"large", {large}}, spec.dtype),
             both = report(plan, spec, {"both", {small, large}}, spec.dtype);
  EXPECT_EQ(both["prompt"], parse_json(R"({"name": "both", "count": 2, "text": 7.5, "visual": 110.0})", "t"));
  for (const char* name : {"paper_visual", "exact_visual", "exact_prefill", "exact_decode"}) {
    const auto of = [&](const Json& json, const char* side) { return json["flops"][name][side].get<double>(); };
    for (const char* side : {"dense", "plan"})
      EXPECT_DOUBLE_EQ(of(both, side), (of(a, side) + of(b, side)) / 2) << name << " " << side;
    EXPECT_DOUBLE_EQ(of(both, "kept"), of(both, "plan") / of(both, "dense"));
  }
  EXPECT_NE(report_text(both).find("\nboth: 7.5 text and 110 visual tokens\n"), std::string::npos);
}

TEST(Report, WindowsThatDifferAreShownByLayer) {
  const ModelSpec spec = llava_7b();
  Plan plan = dense_plan(spec.text);
  for (size_t l = 4; l < 20; ++l) plan.layers[l].window = Window{l < 8 ? 3 : 7, l < 8};
  set_visual_layers(plan, 20);
  const Json json = report(plan, spec, typical_prompt(spec), spec.dtype);
  EXPECT_EQ(json["window"], "by layer");
  const std::string text = report_text(json);
  for (const char* part :
       {"skip, window by layer, ", "neurons     window ",
        "\n    0 - 3      32        32         32     11008       none\n",
        "\n    4 - 7      32        32         32     11008   3 causal\n", "\n   8 - 19 ", "          7\n"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(Report, FixturesAreReported) {
  const ModelSpec spec = spec_from_config(read_json(model / "model" / "config.json"), "config.json");
  const Plan plan = read_plan(model / "cases" / "single" / "skip_all_causal.plan.json");
  const Json json = report(plan, spec, typical_prompt(spec), spec.dtype);
  EXPECT_EQ(json["window"], window_to_json(plan.layers[0].window));
  EXPECT_LT(json["flops"]["exact_prefill"]["kept"], 1.0);
  EXPECT_NE(report_text(json).find("window 5 causal"), std::string::npos);
  Plan wrong = plan;
  wrong.layers.pop_back();
  EXPECT_USER_ERROR((void)report(wrong, spec, typical_prompt(spec), spec.dtype), "layers");
}

}  // namespace
}  // namespace yopo
