// Files of version 1, written by the release that wrote that version, are read for good.
#include <gtest/gtest.h>

#include <algorithm>

#include "models/spec.h"
#include "plans/order.h"
#include "plans/pruned_config.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path data = fs::path(YOPO_TEST_DATA) / "plans", fixtures = fs::path(YOPO_TEST_DATA) / "fixtures";

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

/// Plans that a release made, and those of the reference cases.
std::vector<fs::path> plans_of_version_1() {
  std::vector<fs::path> found;
  for (const fs::path& folder : {data, fixtures})
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.path().string().ends_with(".plan.json")) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

TEST(Versions, PlansOfVersion1SayTheSame) {
  const std::vector<fs::path> files = plans_of_version_1();
  ASSERT_EQ(files.size(), 3u + 199u);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.string());
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

TEST(Versions, PlansOfReferenceCasesFitTheirModels) {
  int checked = 0;
  for (const fs::path& file : plans_of_version_1()) {
    const fs::path config = file.parent_path().parent_path().parent_path() / "model" / "config.json";
    if (!fs::exists(config)) continue;
    SCOPED_TRACE(file.string());
    const DecoderSpec spec = spec_from_config(read_json(config), config.string()).text;
    EXPECT_NO_THROW(check_plan(read_plan(file), spec, file.string()));
    EXPECT_FALSE(is_dense(read_plan(file), spec));
    ++checked;
  }
  EXPECT_EQ(checked, 199);
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
