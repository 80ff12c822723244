// `bench` end to end on a tiny configuration: its numbers hold together; its mistakes are named.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "core/progress.h"
#include "runtime/bench.h"
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
  for (const char* key : {"dense", "pruned", "speedup", "flops_ratio", "roofline_ratio", "efficiency"})
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

}  // namespace
}  // namespace yopo
