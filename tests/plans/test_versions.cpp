// Files of version 1, written by the release that wrote that version, are read for good.
#include <gtest/gtest.h>

#include "models/spec.h"
#include "plans/order.h"
#include "plans/pruned_config.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path data = fs::path(YOPO_TEST_DATA) / "plans";

/// What a plan of version 1 said, by its own members.
void expect_same(const Plan& plan, const Json& json) {
  EXPECT_EQ(name_of(plan.semantics), json["semantics"].get<std::string>());
  EXPECT_EQ(plan.provenance, json.value("provenance", Json::object()));
  ASSERT_EQ(plan.layers.size(), json["heads"].size());
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const LayerPlan& layer = plan.layers[l];
    EXPECT_EQ(layer.alive, int64_t(l) < json["visual_layers"].get<int64_t>());
    EXPECT_EQ(layer.window.has_value(), has(json, "window"));
    if (layer.window) {
      EXPECT_EQ(layer.window->size, json["window"]["size"].get<int64_t>());
      EXPECT_EQ(layer.window->causal, json["window"]["causal"].get<bool>());
    }
    EXPECT_EQ(Json(layer.heads), json["heads"][l]);
    EXPECT_EQ(Json(layer.updates), json.value("updates", json["heads"])[l]);
    EXPECT_EQ(layer.neurons ? Json(*layer.neurons) : Json(), json["ffn"][l]);
  }
}

TEST(Versions, PlansOfVersion1SayTheSame) {
  for (const char* name : {"digitgrid", "digitgrid_llava", "qwen2vl"}) {
    SCOPED_TRACE(name);
    const fs::path file = data / (std::string(name) + ".v1.plan.json");
    const Json json = read_json(file);
    ASSERT_EQ(json["version"], 1);
    const Plan plan = read_plan(file);
    expect_same(plan, json);
    testing::TemporaryFolder folder;
    write_plan(folder / "plan.json", plan);
    EXPECT_EQ(read_json(folder / "plan.json")["version"], 2);
    EXPECT_EQ(read_plan(folder / "plan.json"), plan);
  }
}

TEST(Versions, ExportedCheckpointsOfVersion1RunTheSamePlan) {
  for (const char* name : {"digitgrid", "qwen2vl"}) {
    SCOPED_TRACE(name);
    const fs::path file = data / (std::string(name) + ".v1.config.json");
    testing::TemporaryFolder folder;
    fs::copy_file(file, folder / "config.json");
    write_safetensors(folder / "model.safetensors", {{"x", OwnedTensor::of({1}, std::vector<float>{1})}});
    ASSERT_EQ(read_json(file)["yopo"]["version"], 1);
    const DecoderSpec spec = spec_from_config(read_json(file), file.string()).text;
    const auto pruned = plan_of_checkpoint(Checkpoint::open(folder.path()), spec);
    ASSERT_TRUE(pruned);
    // The checkpoint holds the plan in its own order.
    const Plan plan = read_plan(data / (std::string(name) + ".v1.plan.json"));
    Plan expected = reorder_plan(plan, spec, orders_of(plan, spec));
    expected.provenance = pruned->provenance;
    EXPECT_EQ(*pruned, expected);
    Json config = read_json(file);
    config["yopo"] = pruned_config(*pruned, spec);
    EXPECT_EQ(config["yopo"]["version"], 2);
    write_json(folder / "config.json", config);
    EXPECT_EQ(plan_of_checkpoint(Checkpoint::open(folder.path()), spec), pruned);
  }
}

}  // namespace
}  // namespace yopo
