#include "plans/pruned_config.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <set>

#include "core/error.h"
#include "plans/layer_json.h"
#include "plans/layered_json.h"
#include "plans/order.h"
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
  set_visual_layers(plan, below(result.spec.num_hidden_layers + 1));
  const bool updates = below(2);
  for (LayerPlan& layer : plan.layers) {
    if (below(2)) layer.window = Window{1 + 2 * below(4), below(2) == 1};
    for (size_t head = 0; head < layer.heads.size(); ++head) {
      layer.heads[head] = layer.updates[head] = below(3) > 0;
      if (updates) layer.updates[head] = layer.heads[head] && below(2);
    }
    if (below(4) == 0) continue;
    layer.neurons.emplace();
    for (int64_t neuron = 0; neuron < neurons; ++neuron)
      if (below(2)) layer.neurons->push_back(neuron);
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
      const LayerPlan &before = plan.layers[layer], &after = reordered.layers[layer];
      const HeadFlags &kept = after.heads, &updated = after.updates;
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
        EXPECT_EQ(kept[i], before.heads[size_t(order.heads[i])]);
        EXPECT_EQ(updated[i], before.updates[size_t(order.heads[i])]);
      }
      ASSERT_EQ(after.neurons.has_value(), before.neurons.has_value());
      if (!before.neurons) continue;
      std::vector<int64_t> back;
      for (size_t i = 0; i < after.neurons->size(); ++i) {
        EXPECT_EQ((*after.neurons)[i], int64_t(i));
        back.push_back(order.neurons[i]);
      }
      EXPECT_EQ(back, *before.neurons) << "kept neurons stay in their order";
    }
  }
}

TEST(Orders, StableAndIdentityWhereThereIsNothingToDo) {
  const DecoderSpec spec = spec_of(2, 8, 4, 6);
  for (const LayerOrder& order : orders_of(dense_plan(spec), spec)) EXPECT_TRUE(order.identity());
  Plan plan = dense_plan(spec);
  plan.layers[1].heads = {0, 1, 1, 1, 0, 0, 1, 1};
  plan.layers[1].updates = {0, 0, 0, 1, 0, 0, 1, 0};
  plan.layers[1].neurons = Neurons{1, 4};
  const auto orders = orders_of(plan, spec);
  EXPECT_TRUE(orders[0].identity());
  EXPECT_FALSE(orders[1].identity());
  EXPECT_EQ(orders[1].kv_heads, (std::vector<int64_t>{1, 3, 0, 2}));
  EXPECT_EQ(orders[1].heads, (std::vector<int64_t>{3, 2, 6, 7, 1, 0, 4, 5}));
  EXPECT_EQ(orders[1].neurons, (std::vector<int64_t>{1, 4, 0, 2, 3, 5}));
}

TEST(Orders, AnythingMovedIsNoIdentity) {
  const DecoderSpec spec = spec_of(1, 8, 4, 6);
  for (const auto moved : {&LayerOrder::kv_heads, &LayerOrder::heads, &LayerOrder::neurons}) {
    LayerOrder order = identity_order(spec);
    EXPECT_TRUE(order.identity());
    std::swap((order.*moved)[0], (order.*moved)[1]);
    EXPECT_FALSE(order.identity());
  }
  Plan plan = dense_plan(spec);
  plan.layers[0].updates.pop_back();
  EXPECT_USER_ERROR((void)orders_of(plan, spec), "7 heads, but the model has 8");
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
  const DecoderSpec spec = spec_of(3, 4, 2, 6);
  Plan plan = dense_plan(spec);
  plan.layers[1].heads = plan.layers[1].updates = {1, 1, 1, 0};
  plan.layers[1].updates[2] = 0;
  plan.layers[0].neurons = Neurons{};
  plan.layers[0].window = Window{5, true};
  plan.layers[1].neurons = Neurons{0, 1, 2};
  plan.layers[2].alive = false;
  EXPECT_EQ(pruned_config(plan, spec), parse_json(R"({"format": "yopo-pruned", "version": 2, "layers": [
    {"window": {"size": 5, "causal": true}, "neurons": 0},
    {"heads": [2, 1], "updates": [2, 0], "neurons": 3},
    {"alive": false}], "provenance": {}})",
                                                  "test"));
}

TEST(PrunedConfig, RefusesAnUnorderedPlan) {
  const DecoderSpec spec = spec_of(1, 4, 2, 6);
  Plan plan = dense_plan(spec);
  set_heads(plan, {{0, 1, 1, 1}});
  EXPECT_THROW((void)pruned_config(plan, spec), InternalError);
  plan = dense_plan(spec);
  plan.layers[0].neurons = Neurons{1};
  EXPECT_THROW((void)pruned_config(plan, spec), InternalError);
  plan = dense_plan(spec);
  plan.semantics = Semantics::Llava;
  EXPECT_THROW((void)pruned_config(plan, spec), InternalError);
}

TEST(PrunedConfig, NothingThereIsADenseCheckpoint) {
  testing::TemporaryFolder folder;
  EXPECT_FALSE(plan_of_checkpoint(checkpoint_with(folder, nullptr), spec_of(1, 4, 2, 6)));
}

/// Both versions are refused with the file named and the part.
void refuse(Json json, const char* key, Json value, const char* part) {
  json[key] = std::move(value);
  SCOPED_TRACE(json.dump());
  const DecoderSpec spec = spec_of(2, 4, 2, 6);
  testing::TemporaryFolder folder;
  const Checkpoint checkpoint = checkpoint_with(folder, json);
  EXPECT_USER_ERROR((void)plan_of_checkpoint(checkpoint, spec), part);
  EXPECT_USER_ERROR((void)plan_of_checkpoint(checkpoint, spec), "config.json");
}

TEST(PrunedConfig, RefusesWhatDoesNotFit) {
  const Json good = pruned_config(dense_plan(spec_of(2, 4, 2, 6)), spec_of(2, 4, 2, 6));
  const auto layers = [&](const char* text, const char* part) { refuse(good, "layers", parse_json(text, "t"), part); };
  refuse(good, "format", "yopo-plan", "yopo-pruned");
  refuse(good, "version", 4, "versions 1 to 3");
  refuse(good, "layer", 1, "did you mean 'layers'?");
  refuse(good, "window", nullptr, "unknown key 'window'");
  layers("[{}]", "1 layers, but the model has 2");
  layers("[{}, 5]", "layer 1: expected an object");
  layers(R"([{}, {"head": [2,2]}])", "layer 1: unknown key 'head'; did you mean 'heads'?");
  layers(R"([{}, {"heads": [2]}])", "layer 1");
  layers(R"([{}, {"heads": [2,3]}])", "layer 1: heads, KV head 1");
  layers(R"([{}, {"heads": [2,-1]}])", "layer 1: heads, KV head 1");
  layers(R"([{}, {"updates": [2,2.5]}])", "layer 1: updates, KV head 1");
  layers(R"([{"heads": [1,1], "updates": [2,0]}, {}])", "updates lie within heads");
  layers(R"([{}, {"neurons": 7}])", "layer 1: neurons");
  layers(R"([{}, {"neurons": -1}])", "layer 1: neurons");
  layers(R"([{"window": {"size": 2}}, {}])", "even");
  layers(R"([{"alive": false}, {}])", "layer 1 is alive after layer 0");
  layers(R"([{"alive": 0}, {}])", "alive");
}

TEST(PrunedConfig, RefusesWhatDoesNotFitInVersion1) {
  const Json good = parse_json(R"({"format": "yopo-pruned", "version": 1, "window": null, "visual_layers": 2,
    "heads": [[2,2],[2,2]], "ffn": [null, null], "provenance": {}})",
                               "t");
  refuse(good, "head", 1, "did you mean 'heads'?");
  refuse(good, "layers", Json::array(), "unknown key 'layers'");
  refuse(good, "visual_layers", 3, "visual_layers");
  refuse(good, "window", Json::object({{"size", 2}}), "even");
  refuse(good, "heads", parse_json("[[2,2]]", "t"), "1 layers, but the model has 2");
  refuse(good, "heads", parse_json("[[2,2],[2]]", "t"), "layer 1");
  refuse(good, "heads", parse_json("[[2,2],[2,3]]", "t"), "layer 1, KV head 1");
  refuse(good, "heads", parse_json("[[2,2],[2,-1]]", "t"), "layer 1, KV head 1");
  refuse(good, "updates", parse_json("[[2,2],[2,2.5]]", "t"), "layer 1, KV head 1");
  refuse(good, "ffn", parse_json("[null]", "t"), "ffn: 1 layers");
  refuse(good, "ffn", parse_json("[null, 7]", "t"), "layer 1");
  refuse(good, "ffn", parse_json("[null, -1]", "t"), "layer 1");
  Json json = good;
  json["heads"] = parse_json("[[1,1],[2,2]]", "t");
  refuse(json, "updates", parse_json("[[2,0],[2,2]]", "t"), "updates lie within heads");
}

TEST(LayeredJson, SmallObjectsStayOnALine) {
  const Json json = parse_json(R"({"two": {"x": 1, "y": [2]}, "three": {"x": 1, "y": 2, "z": 3}})", "t");
  EXPECT_EQ(layered_text(json), R"({
  "two": {
    "x": 1,
    "y": [2]
  },
  "three": {
    "x": 1,
    "y": 2,
    "z": 3
  }
})");
  EXPECT_EQ(layered_text(parse_json(R"({"two": {"x": 1, "y": 2}})", "t")), "{\n  \"two\": {\"x\":1,\"y\":2}\n}");
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
