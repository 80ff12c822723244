// The Torch engine beyond the reference cases: blocks, batches, decoding, dtypes and refusals.
#include <algorithm>
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "models/tensors.h"
#include "tests/reference/fixture.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::close;
using testing::loaded_model;

// A prompt of seeded random embeddings around images.
ModelInput random_input(const DecoderSpec& spec, int64_t length, std::vector<Span> spans, unsigned seed) {
  ModelInput input;
  input.spans = std::move(spans);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  input.embeds.resize(size_t(length * spec.hidden_size));
  for (float& value : input.embeds) value = normal(random);
  for (int64_t t = 0; t < length; ++t) input.position_ids.push_back(t);
  return input;
}

// A skip plan that uses every kind of saving.
Plan pruned_plan(const DecoderSpec& spec) {
  Plan plan = dense_plan(spec);
  set_visual_layers(plan, 3);
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    LayerPlan& layer = plan.layers[l];
    const size_t heads = layer.heads.size();
    layer.window = Window{l == 1 ? 3 : 5, l == 2};
    layer.heads[l % heads] = layer.updates[l % heads] = 0;
    layer.updates[(l + 1) % heads] = 0;
  }
  plan.layers[1].neurons = Neurons{0, 3, 17, 100};
  return plan;
}

class TorchEngineTest : public ::testing::Test {
 protected:
  const testing::LoadedModel& loaded = loaded_model("llava_hf/model");
  const DecoderSpec& spec = loaded.model.spec.text;
};

TEST_F(TorchEngineTest, ObservedBlocksEqualTheFusedForward) {
  const ModelInput input = random_input(spec, 700, {{11, 24, 24}}, 1);
  const Trace fused = loaded.engine.trace(input, dense_plan(spec), {.decode = {5, 6}});
  const Trace observed = loaded.engine.trace(input, dense_plan(spec), {.decode = {5, 6}, .statistics = true});
  EXPECT_TRUE(close(observed.hidden, fused.hidden, 2e-5));
  EXPECT_TRUE(close(observed.logits, fused.logits, 1e-5));
  EXPECT_TRUE(close(observed.decode_logits, fused.decode_logits, 1e-5));
  EXPECT_EQ(observed.ratio_prefill.size(), size_t(spec.num_hidden_layers * spec.num_attention_heads));
  EXPECT_TRUE(fused.ratio_prefill.empty());
}

// Batches are cut into smaller blocks of rows and padded, so equal results mean that neither matters.
TEST_F(TorchEngineTest, BatchEqualsSamplesAlone) {
  std::vector<ModelInput> inputs;
  for (const int64_t length : {620, 641, 150, 200}) {
    const bool large = length > 600;
    inputs.push_back(random_input(spec, length,
                                  large ? std::vector<Span>{{9, 24, 24}} : std::vector<Span>{{3, 6, 6}, {50, 6, 7}},
                                  unsigned(length)));
  }
  for (const Plan& plan : {dense_plan(spec), pruned_plan(spec)}) {
    const auto together = loaded.engine.batch_logits(inputs, plan);
    ASSERT_EQ(together.size(), inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i)
      EXPECT_TRUE(close(together[i], loaded.engine.trace(inputs[i], plan, {.hidden = false}).logits, 2e-5))
          << "sample " << i;
  }
}

TEST_F(TorchEngineTest, GreedyDecodingInABatchEqualsForcedDecodingAlone) {
  std::vector<ModelInput> inputs{random_input(spec, 60, {{4, 6, 6}}, 3), random_input(spec, 47, {{2, 5, 5}}, 4),
                                 random_input(spec, 12, {}, 5)};
  for (const Plan& plan : {dense_plan(spec), pruned_plan(spec)}) {
    const auto generated = loaded.engine.generate(inputs, plan, 6);
    ASSERT_EQ(generated.size(), inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      ASSERT_FALSE(generated[i].empty());
      const Trace forced =
          loaded.engine.trace(inputs[i], plan, {.decode = generated[i], .hidden = false, .all_logits = false});
      std::vector<float> rows = forced.logits;
      rows.insert(rows.end(), forced.decode_logits.begin(), forced.decode_logits.end());
      for (size_t t = 0; t < generated[i].size(); ++t) {
        const auto row = rows.begin() + std::ptrdiff_t(t) * spec.vocab_size;
        EXPECT_EQ(generated[i][t], std::max_element(row, row + spec.vocab_size) - row)
            << "sample " << i << ", token " << t;
      }
    }
  }
  EXPECT_TRUE(loaded.engine.generate({}, dense_plan(spec), 4).empty());
  EXPECT_TRUE(loaded.engine.generate(inputs, dense_plan(spec), 0)[0].empty());
}

// Forced tokens go through each layer right behind their prompt; generate() walks through all layers for each token.
TEST_F(TorchEngineTest, ForcedTokensGiveTheLogitsThatChooseThem) {
  const ModelInput input = testing::input_from_pixels(
      loaded.model.spec, Json::object(),
      SafetensorsFile::open(testing::fixtures() / "llava_hf/cases/two_images/inputs.safetensors"));
  const Plan plan = dense_plan(loaded.model.spec.text);
  TraceOptions options;
  options.decode = loaded.engine.generate({input}, plan, 9).at(0);
  ASSERT_GE(options.decode.size(), 3u);
  const Trace trace = loaded.engine.trace(input, plan, options);
  const size_t vocab = size_t(trace.vocab_size), steps = options.decode.size();
  ASSERT_EQ(trace.decode_logits.size(), steps * vocab);
  std::vector<float> logits(trace.logits.end() - std::ptrdiff_t(vocab), trace.logits.end());
  logits.insert(logits.end(), trace.decode_logits.begin(), trace.decode_logits.end());
  for (size_t step = 0; step < steps; ++step) {
    const auto row = logits.begin() + std::ptrdiff_t(step * vocab);
    EXPECT_EQ(std::max_element(row, row + std::ptrdiff_t(vocab)) - row, options.decode[step]) << step;
  }
  // Rows of fewer tokens are the first of those of more.
  TraceOptions fewer = options;
  fewer.decode.resize(2);
  const Trace begun = loaded.engine.trace(input, plan, fewer);
  EXPECT_EQ(begun.decode_logits,
            std::vector<float>(trace.decode_logits.begin(), trace.decode_logits.begin() + std::ptrdiff_t(2 * vocab)));
  EXPECT_EQ(begun.decode_hidden.size(), size_t(2 * (trace.layers + 1) * trace.hidden_size));
  EXPECT_EQ(begun.decode_hidden,
            std::vector<float>(trace.decode_hidden.begin(),
                               trace.decode_hidden.begin() + std::ptrdiff_t(begun.decode_hidden.size())));
  options.generate = 2;
  EXPECT_USER_ERROR(loaded.engine.trace(input, plan, options), "runtime");
}

// Every layer is told of, the tower's too, and a listener may end the call; the next one is as if nothing had been.
TEST_F(TorchEngineTest, CallsTellHowFarTheyAreAndMayBeEnded) {
  const ModelInput input = testing::input_from_pixels(
      loaded.model.spec, Json::object(),
      SafetensorsFile::open(testing::fixtures() / "llava_hf/cases/two_images/inputs.safetensors"));
  const int64_t tower = loaded.model.spec.vision.layers_run(), layers = loaded.model.spec.text.num_hidden_layers;
  std::vector<double> shares;
  int64_t last = -1;  // step at which the call is ended
  const TorchEngine engine(loaded.model, {"fp32", 0, 0, [&](double share) {
                                            shares.push_back(share);
                                            if (int64_t(shares.size()) == last) throw UserError("enough");
                                          }});
  const auto told = [&](int64_t steps) {
    EXPECT_EQ(int64_t(shares.size()), steps);
    EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
    EXPECT_DOUBLE_EQ(shares.back(), 1);
    EXPECT_GT(shares.front(), 0);
    shares.clear();
  };
  TraceOptions options;
  options.decode = {1, 2};
  const Plan plan = dense_plan(loaded.model.spec.text);
  const Trace trace = engine.trace(input, plan, options);
  told(tower + layers);  // forced tokens go along
  const SampleStatistics seen = engine.observe({input, input}, true)[0];
  told(tower + 2 * layers);
  engine.generate({input}, plan, 1);
  told(tower + layers);
  for (last = 1; last <= tower + layers; ++last) {
    shares.clear();
    EXPECT_THROW(engine.observe({input}, false), UserError);
  }
  last = -1;
  shares.clear();
  EXPECT_EQ(engine.trace(input, plan, options).decode_logits, trace.decode_logits);
  EXPECT_EQ(engine.observe({input}, true)[0].ratio_decode, seen.ratio_decode);
}

TEST_F(TorchEngineTest, DecodingStopsAtTheEndTokenAndLeavesItOut) {
  const ModelInput input = random_input(spec, 40, {{4, 5, 5}}, 6);
  const std::vector<int64_t> free = loaded.engine.generate({input}, dense_plan(spec), 8)[0];
  ASSERT_EQ(free.size(), 8u);
  size_t stop = 1;  // the first token that was not there before
  while (stop < free.size() && std::count(free.begin(), free.begin() + std::ptrdiff_t(stop), free[stop]) > 0) ++stop;
  if (stop == free.size()) stop = 0;
  OpenModel model = open_model(testing::fixtures() / "llava_hf/model");
  model.spec.eos_token_ids = {free[stop]};
  const TorchEngine engine(model, {"fp32", 0});
  EXPECT_EQ(engine.generate({input}, dense_plan(spec), 8)[0],
            std::vector<int64_t>(free.begin(), free.begin() + std::ptrdiff_t(stop)));
}

TEST_F(TorchEngineTest, FrozenVisualRowsRepeatTheirValueInSkipPlansOnly) {
  const ModelInput input = random_input(spec, 50, {{6, 5, 5}}, 7);
  Plan plan = dense_plan(spec);
  set_visual_layers(plan, 2);
  const Trace skip = loaded.engine.trace(input, plan, {});
  plan.semantics = Semantics::Llava;
  const Trace published = loaded.engine.trace(input, plan, {});
  const size_t width = size_t(spec.hidden_size), rows = size_t(input.length());
  const auto row = [&](const Trace& trace, size_t layer, size_t t) {
    const auto begin = trace.hidden.begin() + std::ptrdiff_t((layer * rows + t) * width);
    return std::vector<float>(begin, begin + std::ptrdiff_t(width));
  };
  for (size_t t = 6; t < 31; ++t) {
    EXPECT_EQ(row(skip, size_t(spec.num_hidden_layers), t), row(skip, 2, t));
    EXPECT_NE(row(published, size_t(spec.num_hidden_layers), t), row(published, 2, t));
  }
  EXPECT_NE(row(skip, size_t(spec.num_hidden_layers), 40), row(skip, 2, 40));
}

TEST_F(TorchEngineTest, Bf16IsNearFp32) {
  const OpenModel model = open_model(testing::fixtures() / "llava_hf/model");
  const TorchEngine half(model, {"bf16", 0});
  const ModelInput input = random_input(spec, 60, {{4, 6, 6}}, 8);
  for (const Plan& plan : {dense_plan(spec), pruned_plan(spec)}) {
    const Trace exact = loaded.engine.trace(input, plan, {.decode = {7}}),
                rounded = half.trace(input, plan, {.decode = {7}});
    EXPECT_TRUE(testing::close_relative(rounded.logits, exact.logits, 0.1));
    EXPECT_FALSE(testing::close_relative(rounded.logits, exact.logits, 1e-5)) << "nothing was rounded";
    EXPECT_TRUE(testing::close_relative(rounded.decode_logits, exact.decode_logits, 0.1));
  }
}

TEST_F(TorchEngineTest, ColumnNormsOfTheDownProjection) {
  const std::vector<double> norms = loaded.engine.down_column_norms();
  const auto table = tensor_table(loaded.model.spec);
  const int64_t layers = spec.num_hidden_layers, neurons = spec.intermediate_size;
  ASSERT_EQ(norms.size(), size_t(layers * neurons));
  for (int64_t l = 0; l < layers; ++l) {
    const std::vector<float> down = loaded.model.checkpoint.at(find_slot(table, Role::Down, l).name).floats();
    for (int64_t f = 0; f < neurons; ++f) {
      long double sum = 0;
      for (int64_t c = 0; c < spec.hidden_size; ++c)
        sum += (long double)(down[size_t(c * neurons + f)]) * down[size_t(c * neurons + f)];
      EXPECT_NEAR(norms[size_t(l * neurons + f)], double(std::sqrt(sum)), 1e-12);
    }
  }
}

// Layers that come and go, several samples through each, with and without decoding: bit for bit what each sample gives
// alone.
TEST_F(TorchEngineTest, StreamedLayersGiveTheSameNumbers) {
  for (const testing::CaseOf& of :
       {testing::CaseOf{"llava_hf/model", "llava_hf/cases/two_images"},
        testing::CaseOf{"qwen2vl/model", "qwen2vl/cases/two_images"},
        testing::CaseOf{"internvl2_internlm2_6b/model", "internvl2_internlm2_6b/cases/single"},
        testing::CaseOf{"internvl2_phi3/model", "internvl2_phi3/cases/single"}}) {
    SCOPED_TRACE(of.model);
    const testing::LoadedModel& whole = testing::loaded_model(of.model);
    int64_t bytes = 0;
    for (const StoredTensor& tensor : stored_tensors(whole.model.spec))
      bytes += element_count(tensor.shape, tensor.name) * 4;
    const TorchEngine streamed(whole.model, {"fp32", 1, bytes});
    ASSERT_TRUE(streamed.streaming());
    EXPECT_FALSE(whole.engine.streaming());
    const Json info = testing::case_json(of.test);
    const SafetensorsFile inputs = SafetensorsFile::open(testing::fixtures() / of.test / "inputs.safetensors");
    const SafetensorsFile dense = SafetensorsFile::open(testing::fixtures() / of.test / "dense.safetensors");
    const ModelInput pixels = testing::input_from_pixels(whole.model.spec, info, inputs);
    const ModelInput ready = testing::embedded_input(info, inputs, dense);
    const std::vector<ModelInput> samples{pixels, ready, pixels};
    const Plan plan = read_plan(testing::fixtures() / of.test / "skip_all.plan.json");
    std::vector<TraceOptions> options(3);
    options[0].decode = {1, 2};
    options[2].decode = {3};
    options[2].all_logits = false;
    const std::vector<Trace> together = streamed.traces(samples, plan, options);
    for (size_t i = 0; i < samples.size(); ++i) {
      const Trace alone = whole.engine.trace(samples[i], plan, options[i]);
      EXPECT_EQ(together[i].hidden, alone.hidden) << i;
      EXPECT_EQ(together[i].logits, alone.logits) << i;
      EXPECT_EQ(together[i].decode_logits, alone.decode_logits) << i;
      EXPECT_EQ(together[i].vision_features, alone.vision_features) << i;
    }
    for (const bool decode : {false, true}) {
      const std::vector<SampleStatistics> seen = streamed.observe(samples, decode);
      for (size_t i = 0; i < samples.size(); ++i) {
        const SampleStatistics alone = whole.engine.observe({samples[i]}, decode).at(0);
        EXPECT_EQ(seen[i].ratio_prefill, alone.ratio_prefill) << i;
        EXPECT_EQ(seen[i].ratio_decode, alone.ratio_decode) << i;
        EXPECT_EQ(seen[i].abs_sum, alone.abs_sum) << i;
      }
    }
    EXPECT_EQ(streamed.down_column_norms(), whole.engine.down_column_norms());
    EXPECT_GE(streamed.samples_at_once(pixels, true), 1);
  }
}

TEST_F(TorchEngineTest, Refusals) {
  const ModelInput input = random_input(spec, 30, {{4, 4, 4}}, 9);
  EXPECT_USER_ERROR(loaded.engine.trace(input, dense_plan(spec), {.decode = {spec.vocab_size}}), "vocabulary");
  EXPECT_USER_ERROR(loaded.engine.trace(input, dense_plan(spec), {.decode = {-1}}), "vocabulary");
  Plan plan = dense_plan(spec);
  plan.layers.pop_back();
  EXPECT_USER_ERROR(loaded.engine.trace(input, plan, {}), "plan");
  ModelInput outside = input;
  outside.spans = {{20, 4, 4}};
  EXPECT_USER_ERROR(loaded.engine.trace(outside, dense_plan(spec), {}), "span");
  EXPECT_USER_ERROR(loaded.engine.trace(ModelInput{}, dense_plan(spec), {}), "empty prompt");
  ModelInput pixels_missing;
  pixels_missing.spans = {{1, 2, 2}};
  pixels_missing.input_ids.assign(6, 1);
  pixels_missing.position_ids = {0, 1, 2, 3, 4, 5};
  EXPECT_USER_ERROR(loaded.engine.trace(pixels_missing, dense_plan(spec), {}), "no pixels");
  EXPECT_USER_ERROR(TorchEngine(loaded.model, {"fp16", 0}), "fp16");
  EXPECT_USER_ERROR(TorchEngine(loaded.model, {"fp33", 0}), "fp33");
  EXPECT_USER_ERROR(TorchEngine(loaded.model, {"auto", -1}), "threads");
}

TEST_F(TorchEngineTest, NaNInTheInputIsRefusedWhenATokenMustBeChosen) {
  ModelInput input = random_input(spec, 30, {{4, 4, 4}}, 10);
  input.embeds[5] = NAN;
  EXPECT_USER_ERROR(loaded.engine.generate({input}, dense_plan(spec), 2), "NaN");
}

}  // namespace
}  // namespace yopo
