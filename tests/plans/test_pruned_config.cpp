#include "plans/pruned_config.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <set>

#include "core/error.h"
#include "plans/layered_json.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

DecoderSpec spec_of(int64_t layers, int64_t heads, int64_t kv_heads, int64_t neurons) {
  DecoderSpec spec;
  spec.num_hidden_layers = layers;
  spec.num_attention_heads = heads;
  spec.num_key_value_heads = kv_heads;
  spec.head_dim = 4;
  spec.hidden_size = 4 * heads;
  spec.intermediate_size = neurons;
  return spec;
}

// Random plans over random shapes, grouped-query attention included.
struct Case {
  DecoderSpec spec;
  Plan plan;
};
Case random_case(std::mt19937& random) {
  const auto below = [&](int64_t bound) { return int64_t(random() % uint64_t(bound)); };
  const int64_t kv_heads = 1 + below(5), group = 1 + below(4), neurons = 1 + below(20);
  Case result{spec_of(1 + below(4), kv_heads * group, kv_heads, neurons), {}};
  Plan& plan = result.plan = dense_plan(result.spec);
  plan.visual_layers = below(result.spec.num_hidden_layers + 1);
  if (below(2)) plan.window = Window{1 + 2 * below(4), below(2) == 1};
  if (below(2)) plan.updates = plan.heads;
  for (size_t layer = 0; layer < plan.heads.size(); ++layer) {
    for (size_t head = 0; head < plan.heads[layer].size(); ++head) {
      plan.heads[layer][head] = below(3) > 0;
      if (plan.updates) (*plan.updates)[layer][head] = plan.heads[layer][head] && below(2);
    }
    if (below(4) == 0) continue;
    plan.ffn[layer].emplace();
    for (int64_t neuron = 0; neuron < neurons; ++neuron)
      if (below(2)) plan.ffn[layer]->push_back(neuron);
  }
  return result;
}

bool descending(const std::vector<uint8_t>& flags, int64_t first, int64_t count) {
  return std::is_sorted(flags.begin() + first, flags.begin() + first + count, std::greater<>());
}

TEST(Orders, PermuteWholeGroupsAndPutWhatIsUsedFirst) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const auto [spec, plan] = random_case(random);
    const auto orders = orders_of(plan, spec);
    const Plan reordered = reorder_plan(plan, spec, orders);
    check_plan(reordered, spec, "reordered");
    const int64_t group = spec.group_size();
    for (size_t layer = 0; layer < orders.size(); ++layer) {
      const LayerOrder& order = orders[layer];
      EXPECT_EQ(std::set<int64_t>(order.heads.begin(), order.heads.end()).size(), size_t(spec.num_attention_heads));
      EXPECT_EQ(std::set<int64_t>(order.kv_heads.begin(), order.kv_heads.end()).size(),
                size_t(spec.num_key_value_heads));
      EXPECT_EQ(std::set<int64_t>(order.neurons.begin(), order.neurons.end()).size(), size_t(spec.intermediate_size));
      const auto &kept = reordered.heads[layer], &updated = reordered.updated()[layer];
      std::pair<int64_t, int64_t> previous{group, group};
      for (int64_t kv = 0; kv < spec.num_key_value_heads; ++kv) {
        for (int64_t i = 0; i < group; ++i)
          EXPECT_EQ(order.heads[size_t(kv * group + i)] / group, order.kv_heads[size_t(kv)]);
        EXPECT_TRUE(descending(kept, kv * group, group));
        EXPECT_TRUE(descending(updated, kv * group, group));
        const auto count = [&](const auto& row) {
          return std::count(row.begin() + kv * group, row.begin() + (kv + 1) * group, 1);
        };
        const std::pair<int64_t, int64_t> now{count(updated), count(kept)};
        EXPECT_GE(previous, now) << "groups by updated, then kept heads";
        previous = now;
      }
      // What a head or neuron is allowed to do went with it.
      for (size_t i = 0; i < order.heads.size(); ++i) {
        EXPECT_EQ(kept[i], plan.heads[layer][size_t(order.heads[i])]);
        EXPECT_EQ(updated[i], plan.updated()[layer][size_t(order.heads[i])]);
      }
      ASSERT_EQ(reordered.ffn[layer].has_value(), plan.ffn[layer].has_value());
      if (!plan.ffn[layer]) continue;
      std::vector<int64_t> back;
      for (size_t i = 0; i < reordered.ffn[layer]->size(); ++i) {
        EXPECT_EQ((*reordered.ffn[layer])[i], int64_t(i));
        back.push_back(order.neurons[i]);
      }
      EXPECT_EQ(back, *plan.ffn[layer]) << "kept neurons stay in their order";
    }
  }
}

TEST(Orders, StableAndIdentityWhereThereIsNothingToDo) {
  const DecoderSpec spec = spec_of(2, 8, 4, 6);
  for (const LayerOrder& order : orders_of(dense_plan(spec), spec)) EXPECT_TRUE(order.identity());
  Plan plan = dense_plan(spec);
  plan.heads[1] = {0, 1, 1, 1, 0, 0, 1, 1};
  plan.updates = plan.heads;
  (*plan.updates)[1] = {0, 0, 0, 1, 0, 0, 1, 0};
  plan.ffn[1] = std::vector<int64_t>{1, 4};
  const auto orders = orders_of(plan, spec);
  EXPECT_TRUE(orders[0].identity());
  EXPECT_FALSE(orders[1].identity());
  EXPECT_EQ(orders[1].kv_heads, (std::vector<int64_t>{1, 3, 0, 2}));
  EXPECT_EQ(orders[1].heads, (std::vector<int64_t>{3, 2, 6, 7, 1, 0, 4, 5}));
  EXPECT_EQ(orders[1].neurons, (std::vector<int64_t>{1, 4, 0, 2, 3, 5}));
}

TEST(Orders, ASecondReorderingChangesNothing) {
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    const auto [spec, plan] = random_case(random);
    const Plan once = reorder_plan(plan, spec, orders_of(plan, spec));
    for (const LayerOrder& order : orders_of(once, spec)) EXPECT_TRUE(order.identity());
  }
}

// A checkpoint folder that holds nothing but a config with this "yopo" object.
Checkpoint checkpoint_with(const testing::TemporaryFolder& folder, const Json& yopo) {
  Json config = Json::object();
  config["architectures"] = Json::array({"Any"});
  if (!yopo.is_null()) config["yopo"] = yopo;
  write_json(folder / "config.json", config);
  write_safetensors(folder / "model.safetensors", {{"x", OwnedTensor::of({1}, std::vector<float>{1})}});
  return Checkpoint::open(folder.path());
}

TEST(PrunedConfig, GivesTheReorderedPlanBack) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    auto [spec, plan] = random_case(random);
    plan.provenance["seed"] = round;
    const Plan reordered = reorder_plan(plan, spec, orders_of(plan, spec));
    testing::TemporaryFolder folder;
    const auto back = plan_of_checkpoint(checkpoint_with(folder, pruned_config(reordered, spec)), spec);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, reordered);
  }
}

TEST(PrunedConfig, CountsPerGroup) {
  const DecoderSpec spec = spec_of(2, 4, 2, 6);
  Plan plan = dense_plan(spec);
  plan.heads[1] = {1, 1, 1, 0};
  plan.ffn[0] = std::vector<int64_t>{};
  plan.ffn[1] = std::vector<int64_t>{0, 1, 2};
  const Json json = pruned_config(plan, spec);
  EXPECT_EQ(json["heads"], parse_json("[[2,2],[2,1]]", "test"));
  EXPECT_EQ(json["ffn"], parse_json("[0,3]", "test"));
  EXPECT_FALSE(json.contains("updates"));
}

TEST(PrunedConfig, RefusesAnUnorderedPlan) {
  const DecoderSpec spec = spec_of(1, 4, 2, 6);
  Plan plan = dense_plan(spec);
  plan.heads[0] = {0, 1, 1, 1};
  EXPECT_THROW((void)pruned_config(plan, spec), InternalError);
  plan = dense_plan(spec);
  plan.ffn[0] = std::vector<int64_t>{1};
  EXPECT_THROW((void)pruned_config(plan, spec), InternalError);
}

TEST(PrunedConfig, NothingThereIsADenseCheckpoint) {
  testing::TemporaryFolder folder;
  EXPECT_FALSE(plan_of_checkpoint(checkpoint_with(folder, nullptr), spec_of(1, 4, 2, 6)));
}

TEST(PrunedConfig, RefusesWhatDoesNotFit) {
  const DecoderSpec spec = spec_of(2, 4, 2, 6);
  const Json good = pruned_config(dense_plan(spec), spec);
  const auto refuse = [&](const char* key, Json value, const char* part) {
    Json json = good;
    json[key] = std::move(value);
    SCOPED_TRACE(json.dump());
    testing::TemporaryFolder folder;
    const Checkpoint checkpoint = checkpoint_with(folder, json);
    EXPECT_USER_ERROR((void)plan_of_checkpoint(checkpoint, spec), part);
    EXPECT_USER_ERROR((void)plan_of_checkpoint(checkpoint, spec), "config.json");
  };
  refuse("format", "yopo-plan", "yopo-pruned");
  refuse("version", 2, "version 1");
  refuse("head", 1, "did you mean 'heads'?");
  refuse("visual_layers", 3, "visual_layers");
  refuse("window", Json::object({{"size", 2}}), "even");
  refuse("heads", parse_json("[[2,2]]", "t"), "1 layers, but the model has 2");
  refuse("heads", parse_json("[[2,2],[2]]", "t"), "layer 1");
  refuse("heads", parse_json("[[2,2],[2,3]]", "t"), "layer 1, KV head 1");
  refuse("heads", parse_json("[[2,2],[2,-1]]", "t"), "layer 1, KV head 1");
  refuse("updates", parse_json("[[2,2],[2,2.5]]", "t"), "layer 1, KV head 1");
  refuse("ffn", parse_json("[null]", "t"), "ffn: 1 layers");
  refuse("ffn", parse_json("[null, 7]", "t"), "layer 1");
  refuse("ffn", parse_json("[null, -1]", "t"), "layer 1");
  Json json = good;
  json["heads"] = parse_json("[[1,1],[2,2]]", "t");
  json["updates"] = parse_json("[[2,0],[2,2]]", "t");
  testing::TemporaryFolder folder;
  EXPECT_USER_ERROR((void)plan_of_checkpoint(checkpoint_with(folder, json), spec), "updates lie within heads");
}

TEST(LayeredJson, OneLayerALineAtAnyDepth) {
  const Json json =
      parse_json(R"({"a": [[1,2],[3]], "b": {"x": 1}, "c": {"x": {"y": []}, "z": [1,2]}, "d": {}, "e": []})", "t");
  EXPECT_EQ(layered_text(json, 2), R"({
    "a": [
      [1,2],
      [3]
    ],
    "b": {"x":1},
    "c": {
      "x": {
        "y": []
      },
      "z": [1,2]
    },
    "d": {},
    "e": []
  })");
  EXPECT_EQ(parse_json(layered_text(json), "t"), json);
}

}  // namespace
}  // namespace yopo
