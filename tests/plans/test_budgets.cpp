#include "plans/budgets.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "plans/compensation.h"
#include "plans/pruned_config.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;

DecoderSpec small_spec(int64_t kv_heads) {
  DecoderSpec spec;
  spec.num_hidden_layers = 2;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = kv_heads;
  spec.head_dim = 2;
  spec.hidden_size = 8;
  spec.intermediate_size = 6;
  return spec;
}

std::shared_ptr<const Compensation> some(int64_t rank, float from) {
  Compensation added;
  added.rank = rank;
  added.down.assign(size_t(8 * rank), from);
  added.up.assign(size_t(8 * rank), -from);
  added.bias.assign(8, from);
  return std::make_shared<const Compensation>(std::move(added));
}

/// Sets that are nested, with updates that are not.
std::vector<BudgetPlan> two_plans(const DecoderSpec& spec) {
  Plan large = dense_plan(spec), small = dense_plan(spec);
  large.layers[0].heads = {0, 1, 1, 1};
  large.layers[0].updates = {0, 0, 1, 0};
  large.layers[0].neurons = Neurons{1, 3, 4, 5};
  large.layers[0].compensation = some(2, 0.5f);
  small.layers[0].heads = {0, 0, 1, 1};
  small.layers[0].updates = {0, 0, 0, 1};
  small.layers[0].neurons = Neurons{3, 5};
  small.layers[0].compensation = some(1, 0.25f);
  small.layers[1].alive = false;
  return {{"0.5", large}, {"0.25", small}};
}

Checkpoint checkpoint_with(const TemporaryFolder& folder, const Json& yopo) {
  write_json(folder / "config.json", {{"architectures", Json::array({"Any"})}, {"yopo", yopo}});
  write_safetensors(folder / "model.safetensors", {{"x", OwnedTensor::of({1}, std::vector<float>{1})}});
  return Checkpoint::open(folder.path());
}

TEST(Budgets, AreWrittenInOneWay) {
  EXPECT_EQ(parse_budget("0.250", "t"), "0.25");
  EXPECT_EQ(parse_budget("1", "t"), "1");
  for (const char* text : {"0", "1.5", "-0.5", "nan", "half", ""})
    EXPECT_USER_ERROR((void)parse_budget(text, "t"), "above 0 and at most 1");
  EXPECT_USER_ERROR((void)exact_budget("0.250", "t"), "should be written as 0.25");
  EXPECT_USER_ERROR((void)pick_budget({"0.5", "0.25"}, "0.3", "m"), "m: no plan for budget 0.3; there are 0.5, 0.25");
}

TEST(Budgets, OneOrderServesNestedPlans) {
  for (const int64_t kv_heads : {4, 2}) {
    const DecoderSpec spec = small_spec(kv_heads);
    const std::vector<BudgetPlan> plans = two_plans(spec);
    const std::vector<LayerOrder> orders = common_orders(plans, spec, "t");
    EXPECT_EQ(orders[0].neurons, (std::vector<int64_t>{3, 5, 1, 4, 0, 2}));
    EXPECT_TRUE(orders[1].identity());
    if (kv_heads == 4) EXPECT_EQ(orders[0].heads, (std::vector<int64_t>{2, 3, 1, 0}));
    const std::vector<LayerOrder> alone = common_orders({plans[0]}, spec, "t"), own = orders_of(plans[0].plan, spec);
    EXPECT_EQ(alone[0].heads, own[0].heads);
    EXPECT_EQ(alone[0].neurons, own[0].neurons);
  }
  std::vector<BudgetPlan> plans = two_plans(small_spec(4));
  plans[1].plan.layers[0].neurons = Neurons{0};
  EXPECT_USER_ERROR((void)common_orders(plans, small_spec(4), "t"),
                    "t: layer 0: the plans of budgets 0.5 and 0.25 keep neurons");
  plans = two_plans(small_spec(4));
  plans[1].plan.layers[0].heads[0] = 1;
  EXPECT_USER_ERROR((void)common_orders(plans, small_spec(4), "t"), "KV heads");
}

struct Written {
  TemporaryFolder folder;
  DecoderSpec spec;
  std::vector<BudgetPlan> plans;
  Json json;
  explicit Written(int64_t kv_heads = 2) : spec(small_spec(kv_heads)), plans(two_plans(spec)) {
    const auto orders = common_orders(plans, spec, "t");
    for (BudgetPlan& one : plans) one.plan = reorder_plan(one.plan, spec, orders);
    write_compensation(folder / compensation_name, plans);
    json = elastic_config(plans, "0.25", spec, {{"made_by", {{"0.5", {{"a", 1}}}, {"0.25", {{"b", 2}}}}}});
  }
  Plan read(const std::string& budget) {
    return plan_of_checkpoint(checkpoint_with(folder, json), spec, budget).value();
  }
};

TEST(Budgets, EveryPlanComesBack) {
  for (const int64_t kv_heads : {4, 2}) {
    Written written(kv_heads);
    EXPECT_EQ(written.json["version"], 3);
    for (BudgetPlan& one : written.plans) {
      Plan read = written.read(one.budget);
      EXPECT_EQ(read.provenance["made_by"].contains(one.budget == "0.5" ? "a" : "b"), true);
      read.provenance = one.plan.provenance;
      EXPECT_EQ(read, one.plan);
    }
    EXPECT_EQ(written.read("").layers, written.plans[1].plan.layers) << "the default";
    EXPECT_EQ(written.read("0.50").layers, written.plans[0].plan.layers);
    const CheckpointBudgets there = budgets_of_checkpoint(checkpoint_with(written.folder, written.json));
    EXPECT_EQ(there.names, (std::vector<std::string>{"0.5", "0.25"}));
    EXPECT_EQ(there.fallback, "0.25");
  }
}

TEST(Budgets, HostileObjectsAreNamed) {
  Written written;
  const Json good = written.json;
  const auto refuse = [&](auto edit, const char* part) {
    written.json = good;
    edit(written.json);
    EXPECT_USER_ERROR((void)written.read(""), part);
    written.json = good;
  };
  EXPECT_USER_ERROR((void)written.read("0.3"), "no plan for budget 0.3; there are 0.5, 0.25");
  EXPECT_USER_ERROR((void)written.read("x"), "expected a budget");
  refuse([](Json& j) { j["default"] = "0.3"; }, "none of the plans' budgets");
  refuse([](Json& j) { j.erase("default"); }, "default");
  refuse([](Json& j) { j["plans"] = Json::object(); }, "plans: expected 1 to 64");
  refuse([](Json& j) { j["plans"] = 3; }, "plans");
  refuse([](Json& j) { j["plans"]["0.250"] = j["plans"]["0.5"]; }, "should be written as 0.25");
  refuse([](Json& j) { j["plans"]["2"] = j["plans"]["0.5"]; }, "expected a budget");
  refuse([](Json& j) { j["plans"]["0.5"]["window"] = 1; }, "budget 0.5: unknown key 'window'");
  refuse([](Json& j) { j["plans"]["0.5"]["layers"].erase(1); }, "budget 0.5: layers: 1 layers");
  refuse([](Json& j) { j["plans"]["0.5"]["layers"][1]["heads"] = {0, 2}; }, "KV heads without a kept head");
  refuse([](Json& j) { j["plans"]["0.5"]["layers"][1]["updates"] = {2, {1, 0, 1}}; }, "3 flags for 2 heads");
  refuse([](Json& j) { j["plans"]["0.5"]["layers"][1]["updates"] = {2, {1, 2}}; }, "expected 0 or 1");
  refuse([](Json& j) { j["layers"] = Json::array(); }, "unknown key 'layers'");
  // The vectors: of the plan that is not asked for, too.
  refuse([](Json& j) { j["plans"]["0.5"]["layers"][0]["compensation"]["rank"] = 3; }, "budgets.0.5.layers.0.down");
  refuse([](Json& j) { j["plans"]["0.5"]["compensation"]["file"] = "other.safetensors"; }, "for another budget");
  refuse([](Json& j) { j["plans"]["0.25"]["compensation"]["digest"] = "00"; }, "not the vectors");
  refuse([](Json& j) { j["plans"]["0.5"].erase("compensation"); }, "no file is named");
  refuse(
      [](Json& j) {
        j["plans"]["0.5"].erase("compensation");
        j["plans"]["0.5"]["layers"][0].erase("compensation");
      },
      "tensors, but");
  std::vector<BudgetPlan> other = written.plans;
  other[1].plan.layers[0].compensation = some(1, 0.75f);
  write_compensation(written.folder / compensation_name, other);
  EXPECT_USER_ERROR((void)written.read("0.25"), "not the vectors");
  EXPECT_EQ(written.read("0.5").layers, written.plans[0].plan.layers);
}

TEST(Budgets, ACheckpointOfOnePlanKnowsItsOwn) {
  const DecoderSpec spec = small_spec(4);
  Plan plan = dense_plan(spec);
  TemporaryFolder folder;
  EXPECT_USER_ERROR((void)plan_of_checkpoint(checkpoint_with(folder, pruned_config(plan, spec)), spec, "0.5"),
                    "not made for a budget");
  plan.provenance = {{"made_by", {{"search", {{"budget", 0.5}}}}}};
  const Checkpoint checkpoint = checkpoint_with(folder, pruned_config(plan, spec));
  EXPECT_TRUE(plan_of_checkpoint(checkpoint, spec, "0.5"));
  EXPECT_USER_ERROR((void)plan_of_checkpoint(checkpoint, spec, "0.25"), "there is 0.5");
}

}  // namespace
}  // namespace yopo
