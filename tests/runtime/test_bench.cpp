// `bench` end to end on a tiny configuration: its numbers hold together; its mistakes are named.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/device_name.h"
#include "core/error.h"
#include "core/progress.h"
#include "runtime/bench.h"
#include "runtime/device.h"
#include "tests/runtime/fixtures.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using runtime::bench;
using runtime::BenchOptions;
using runtime::BenchResult;

class Bench : public ::testing::Test {
 protected:
  void SetUp() override {
    set_quiet(true);
    const OpenModel model = open_model(testing::fixture("llava_hf/model"));
    std::mt19937 random(3);
    plan_ = dense_plan(model.spec.text);
    set_visual_layers(plan_, 3);
    set_window(plan_, Window{5, false});
    for (LayerPlan& layer : plan_.layers) {
      layer.heads[1] = layer.updates[1] = 0;
      layer.neurons = Neurons{1, 5, 100};
    }
    write_plan(folder_ / "plan.json", plan_);
    options_.config = testing::fixture("llava_hf/model/config.json");
    options_.plan = folder_ / "plan.json";
    options_.visual = 36, options_.text = 40, options_.batch = 2, options_.decode_tokens = 2, options_.rounds = 2;
    options_.run.dtype = "fp32";
  }
  void TearDown() override { set_quiet(false); }
  void check(const BenchResult& result, const DecoderSpec& spec, const Plan& plan) {
    const PromptShape prompt = single_image_shape(35, 6, 6, 5);
    for (const bool pruned : {false, true}) {
      const runtime::BenchSide& side = pruned ? result.pruned : result.dense;
      const Plan& own = pruned ? plan : dense_plan(spec);
      EXPECT_GT(side.prefill_ms, 0);
      EXPECT_GT(side.decode_ms, 0);
      EXPECT_EQ(side.flops, 2 * prefill_cost(own, spec, prompt).flops());
      EXPECT_EQ(side.flops, side.flops_promised);
      EXPECT_EQ(side.kv_bytes, 2 * kv_bytes(own, spec, prompt, 0, 4));
      EXPECT_EQ(side.kv_bytes, side.kv_bytes_promised);
      EXPECT_GT(side.activation_bytes, side.kv_bytes);
      EXPECT_GT(side.peak_bytes, side.activation_bytes);
    }
    EXPECT_LT(result.pruned.kv_bytes, result.dense.kv_bytes);
    EXPECT_GT(result.flops_ratio, 1);
    EXPECT_GT(result.roofline_ratio, 0.99);
    EXPECT_LE(result.roofline_ratio, result.flops_ratio * 1.01);
    EXPECT_NEAR(result.efficiency, result.speedup / result.roofline_ratio, 1e-12);
    EXPECT_NEAR(result.products_efficiency, result.speedup / result.products_roofline_ratio, 1e-12);
    for (const runtime::BenchSide* side : {&result.dense, &result.pruned}) {
      EXPECT_GT(side->roofline_ms, 0);
      EXPECT_GT(side->products_roofline_ms, 0.9 * side->roofline_ms) << "nothing hides behind anything else";
    }
    EXPECT_EQ(result.clock, "wall");
    EXPECT_GT(result.flop_rate, 1e8);
    EXPECT_GT(result.byte_rate, 1e8);
  }

  testing::TemporaryFolder folder_;
  Plan plan_;
  BenchOptions options_;
};

TEST_F(Bench, RandomWeightsCutToSomeLayers) {
  options_.layers = 4;
  const BenchResult result = bench(options_);
  ModelSpec spec = spec_from_config(read_json(options_.config), "config");
  spec.text.num_hidden_layers = 4;
  plan_.layers.resize(4);
  check(result, spec.text, plan_);
  const Json json = bench_to_json(result);
  EXPECT_FALSE(json.contains("vision")) << "nobody asked for it";
  for (const char* key : {"dense", "pruned", "speedup", "flops_ratio", "roofline_ratio", "efficiency",
                          "products_roofline_ratio", "products_efficiency", "clock"})
    EXPECT_TRUE(json.contains(key)) << key;
  for (const char* key :
       {"prefill_ms", "decode_ms", "flops", "flops_promised", "kv_bytes", "kv_bytes_promised", "peak_bytes"})
    EXPECT_TRUE(json["pruned"].contains(key)) << key;
}

TEST_F(Bench, Checkpoint) {
  options_.config.clear();
  options_.model = testing::fixture("llava_hf/model");
  check(bench(options_), open_model(options_.model).spec.text, plan_);
}

// Towers of one picture size, of any size, and of windows; from a config alone and from a checkpoint.
TEST_F(Bench, TheVisionTowerHasItsOwnTime) {
  options_.vision = true;
  options_.batch = 2;
  const auto check_pictures = [&](const std::string& family, int64_t tokens) {
    SCOPED_TRACE(family);
    const ModelSpec spec = open_model(testing::fixture(family + "/model")).spec;
    write_plan(folder_ / "plan.json", dense_plan(spec.text));
    const Json json = bench_to_json(bench(options_));
    EXPECT_GT(json["vision"]["ms"].get<double>(), 0);
    EXPECT_EQ(json["vision"]["tokens"], 2 * tokens);
  };
  for (const char* family : {"llava_hf", "qwen2vl", "qwen2_5_vl", "internvl2_internlm2"}) {
    const ModelSpec spec = open_model(testing::fixture(std::string(family) + "/model")).spec;
    const int64_t one = spec.image_tokens(), pictures = one > 0 ? std::max<int64_t>(1, (36 + one / 2) / one) : 0;
    const int64_t tokens = spec.vision.image_size > 0 ? pictures * one : 36;
    if (spec.vision.window > 0 || spec.vision.image_size > 0) {
      options_.config = testing::fixture(std::string(family) + "/model/config.json");
      options_.model.clear();
    } else {
      options_.model = testing::fixture(std::string(family) + "/model");
      options_.config.clear();
    }
    check_pictures(family, tokens);
  }
  options_.config = testing::fixture("anyres_llava_next/model/config.json");
  options_.model.clear();
  write_plan(folder_ / "plan.json", dense_plan(open_model(testing::fixture("anyres_llava_next/model")).spec.text));
  EXPECT_USER_ERROR(bench(options_), "cut into tiles");
}

TEST_F(Bench, Mistakes) {
  BenchOptions neither = options_;
  neither.config.clear();
  EXPECT_THROW(bench(neither), UserError);
  BenchOptions dense = options_;
  dense.config.clear();
  dense.model = testing::fixture("llava_hf/model");
  dense.plan.clear();
  EXPECT_THROW(bench(dense), UserError);  // no plan, and no pruned checkpoint
  BenchOptions layers = options_;
  layers.layers = 6;
  EXPECT_THROW(bench(layers), UserError);
  BenchOptions textless = options_;
  textless.text = 0;
  EXPECT_THROW(bench(textless), UserError);
}

// By hand: a machine of 1 FLOP/s is bound by FLOPs, one of 1 byte/s by weights, whatever the plan.
TEST_F(Bench, RooflineBounds) {
  const DecoderSpec spec = open_model(testing::fixture("llava_hf/model")).spec.text;
  const PromptShape prompt = single_image_shape(35, 6, 6, 5);
  const double flops = runtime::roofline_seconds(plan_, spec, prompt, 1, 4, 1, 1e30);
  EXPECT_DOUBLE_EQ(flops, prefill_cost(plan_, spec, prompt).flops());
  const double bytes = runtime::roofline_seconds(plan_, spec, prompt, 1, 4, 1e30, 1);
  // Every layer's weights, and the head's; each layer's figure carries one final norm's bytes.
  EXPECT_NEAR(bytes, weight_bytes(spec, 4), 4.0 * double(spec.hidden_size * spec.num_hidden_layers));
  EXPECT_EQ(bytes, runtime::roofline_seconds(dense_plan(spec), spec, prompt, 1, 4, 1e30, 1));
}

// Every plan: the list of products has the FLOPs that are promised, attention aside.
TEST_F(Bench, ProductsAreWhatIsPromised) {
  std::mt19937 random(9);
  const DecoderSpec spec = testing::small_spec().text;
  for (int round = 0; round < 50; ++round) {
    const Plan plan = testing::drawn_plan(spec, random);
    for (const PromptShape& prompt : {single_image_shape(5, 4, 6, 7), single_image_shape(9, 0, 0, 0)})
      for (const LayerPlan& layer : plan.layers) {
        const Cost cost = layer_prefill_cost(layer, spec, prompt);
        double flops = 0;
        for (const runtime::ProductShape& product : runtime::layer_products(layer, spec, prompt, 3))
          flops += product.flops();
        EXPECT_EQ(flops, 3 * 2 * (cost.projections + cost.ffn));
      }
  }
}

// By hand: one layer of one head of 2, 4 hidden, 3 neurons, no head; 2 text rows, fp32.
TEST_F(Bench, ProductsAddUp) {
  DecoderSpec spec;
  spec.num_hidden_layers = 1, spec.num_attention_heads = spec.num_key_value_heads = 1, spec.head_dim = 2;
  spec.hidden_size = 4, spec.intermediate_size = 3, spec.vocab_size = 5;
  const PromptShape prompt = single_image_shape(2, 0, 0, 0);
  const auto seconds = [&](double flop_rate, double byte_rate) {
    return runtime::roofline_seconds_one_by_one(dense_plan(spec), spec, prompt, 1, 4, flop_rate, byte_rate);
  };
  EXPECT_DOUBLE_EQ(seconds(1, 1e30), prefill_cost(dense_plan(spec), spec, prompt).flops());
  // qkv: 2 x 6 x 4, o: 2 x 4 x 2, gate and up: 2 x 6 x 4, down: 2 x 4 x 3; attention's rows; the head: 1 x 5 x 4.
  const double products = 4 * (8 + 24 + 12) + (4 * (4 + 8) + 8 * 8) + 4 * (8 + 24 + 12) + (4 * (6 + 12) + 8 * 8);
  const double attention = 4 * 2 * (2 * 2 + 2 * 2), head = 4 * (4 + 20 + 5);
  EXPECT_DOUBLE_EQ(seconds(1e30, 1), products + attention + head);
  // Between the two every part takes the longer of its own: q, k and v their FLOPs, o its bytes.
  EXPECT_GT(seconds(0.5, 1), std::max(seconds(0.5, 1e30), seconds(1e30, 1)));
}

TEST(DeviceName, GpusHaveNumbers) {
  for (const char* name : {"auto", "cpu", "cuda", "cuda:0", "cuda:17"}) EXPECT_EQ(device_name_fault(name), "");
  for (const char* name : {"", "cuda:", "cuda:-1", "cuda:x", "cuda:1.5", "cuda:0:1", "cpu:0", "CUDA"})
    EXPECT_NE(device_name_fault(name), "") << name;
  EXPECT_USER_ERROR(runtime::device_ops("cuda:one"), "GPUs have numbers: cuda:0");
  EXPECT_USER_ERROR(runtime::device_ops("gpu"), "did you mean 'cuda'?");
}

}  // namespace
}  // namespace yopo
