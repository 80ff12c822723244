// What calibration gathers of a sample, against the same sums over everything the forward computed.
#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "reference/observers.h"
#include "tests/reference/fixture.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

using testing::close_relative;
using testing::loaded_model;

class SampleObserverTest : public ::testing::Test {
 protected:
  const OpenModel& model = loaded_model("llava_hf/model").model;
  const DecoderSpec& spec = model.spec.text;
  const TorchWeights weights = load_weights(model.checkpoint, model.spec, at::kFloat);
  const std::vector<LayerRule> rules = layer_rules(spec, dense_plan(spec), rules_of(Semantics::Skip), at::kFloat);

  // Runs a prefill of seeded embeddings and two decoded tokens under an observer.
  void run(const std::vector<SampleLayout>& samples, int64_t rows, const Observer& observer) const {
    at::manual_seed(9);
    KvCache cache;
    std::vector<NewPositions> positions(1);
    for (int64_t t = 0; t < rows; ++t) positions[0].ids.push_back(t);
    run_decoder(spec, weights.decoder, rules, at::randn({1, rows, spec.hidden_size}),
                {samples, positions, &cache, &observer});
    for (int64_t i = 0; i < 2; ++i) {
      const std::vector<NewPositions> next{{{rows + i}}};
      run_decoder(spec, weights.decoder, rules, at::randn({1, 1, spec.hidden_size}),
                  {samples, next, &cache, &observer, rows + i});
    }
  }
};

TEST_F(SampleObserverTest, SumsEqualThoseOverWholeTensors) {
  constexpr int64_t rows = 560;
  const std::vector<SampleLayout> samples{layout_of({{7, 20, 20}, {430, 10, 9}}, 0)};
  const int64_t layers = spec.num_hidden_layers, heads = spec.num_attention_heads, neurons = spec.intermediate_size;
  SampleObserver sums(spec, samples[0]);
  const Observer counted = sums.callbacks();

  at::Tensor visual = at::zeros({rows + 2}, at::kBool);
  for (const Span& span : samples[0].spans) visual.slice(0, span.start, span.start + span.count()).fill_(true);
  const at::Tensor key_is_visual = visual.to(at::kDouble), row_is_text = 1 - visual.slice(0, 0, rows).to(at::kDouble);
  // [L, H]: mass on visual and on other keys by all rows, by text rows, by the first decoded row.
  at::Tensor seen = at::zeros({3, 2, layers, heads}, at::kDouble);
  std::vector<double> abs_sum, square_sum, active;
  Observer both;
  both.attention = [&](const AttentionBlock& block) {
    counted.attention(block);
    const at::Tensor weights = block.weights[0].to(at::kDouble);
    const at::Tensor on_visual = weights.matmul(key_is_visual.slice(0, 0, block.block.keys));  // [H, R]
    const at::Tensor on_other = weights.matmul(1 - key_is_visual.slice(0, 0, block.block.keys));
    if (block.block.past > rows) return;  // the second decoded token does not count
    if (block.block.past == rows) {
      seen[2][0][block.layer] += on_visual.sum(1);
      seen[2][1][block.layer] += on_other.sum(1);
      return;
    }
    const at::Tensor text = row_is_text.slice(0, block.block.first, block.block.first + block.block.rows);
    seen[0][0][block.layer] += on_visual.sum(1);
    seen[0][1][block.layer] += on_other.sum(1);
    seen[1][0][block.layer] += (on_visual * text).sum(1);
    seen[1][1][block.layer] += (on_other * text).sum(1);
  };
  both.activation = [&](int64_t layer, int64_t past, const at::Tensor& activation) {
    counted.activation(layer, past, activation);
    if (past > 0) return;
    for (int64_t f = 0; f < neurons; ++f) abs_sum.push_back(0), square_sum.push_back(0), active.push_back(0);
    const float* values = activation.data_ptr<float>();
    for (const Span& span : samples[0].spans)
      for (int64_t t = span.start; t < span.start + span.count(); ++t) {
        double mean = 0;
        for (int64_t f = 0; f < neurons; ++f) mean += std::abs(double(values[t * neurons + f])) / double(neurons);
        for (int64_t f = 0; f < neurons; ++f) {
          const double value = values[t * neurons + f];
          abs_sum[size_t(layer * neurons + f)] += std::abs(value);
          square_sum[size_t(layer * neurons + f)] += value * value;
          active[size_t(layer * neurons + f)] += std::abs(value) > mean;
        }
      }
  };
  run(samples, rows, both);

  const SampleStatistics found = sums.statistics();
  const auto ratio = [&](int64_t which) {
    const at::Tensor values = (seen[which][0] / seen[which][1]).contiguous();
    return std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + layers * heads);
  };
  EXPECT_TRUE(close_relative(found.ratio_prefill, ratio(0), 1e-6));
  EXPECT_TRUE(close_relative(found.ratio_text, ratio(1), 1e-6));
  EXPECT_TRUE(close_relative(found.ratio_decode, ratio(2), 1e-6));
  EXPECT_FALSE(close_relative(found.ratio_prefill, ratio(1), 1e-3)) << "the three ratios differ";
  EXPECT_FALSE(close_relative(found.ratio_text, ratio(2), 1e-3)) << "the three ratios differ";
  EXPECT_TRUE(close_relative(found.abs_sum, abs_sum, 1e-6));
  EXPECT_TRUE(close_relative(found.square_sum, square_sum, 1e-6));
  // One row in which |activation| is the mean up to rounding may fall on either side.
  EXPECT_TRUE(testing::close(found.active, active, 1.0));
  EXPECT_EQ(found.rows, std::vector<int64_t>(size_t(layers), 490));
  for (const double value : found.abs_sum) EXPECT_GT(value, 0);
  for (const double value : found.active) EXPECT_LE(value, 490);
}

TEST_F(SampleObserverTest, TextAloneGivesNoVisualMass) {
  const std::vector<SampleLayout> samples{layout_of({}, 0)};
  SampleObserver sums(spec, samples[0]);
  run(samples, 30, sums.callbacks());
  const SampleStatistics found = sums.statistics();
  for (const double ratio : found.ratio_prefill) EXPECT_EQ(ratio, 0.0);
  for (const double value : found.abs_sum) EXPECT_EQ(value, 0.0);
  EXPECT_EQ(found.rows, std::vector<int64_t>(size_t(spec.num_hidden_layers), 0));
}

TEST_F(SampleObserverTest, EngineObservesWithAndWithoutTheDecodedRow) {
  const testing::LoadedModel& loaded = loaded_model("llava_hf/model");
  const SafetensorsFile inputs = SafetensorsFile::open(testing::fixtures() / "llava_hf/heads/inputs.safetensors");
  const ModelInput input = testing::input_from_pixels(model.spec, Json::object(), inputs, "0.");
  const SampleStatistics prefill = loaded.engine.observe({input}, false).at(0),
                         decode = loaded.engine.observe({input}, true).at(0);
  EXPECT_TRUE(prefill.ratio_decode.empty());
  EXPECT_EQ(decode.ratio_decode.size(), prefill.ratio_prefill.size());
  EXPECT_EQ(decode.ratio_prefill, prefill.ratio_prefill);
  EXPECT_EQ(decode.abs_sum, prefill.abs_sum);
  const std::vector<int64_t> first = loaded.engine.generate({input}, dense_plan(spec), 1)[0];
  ASSERT_EQ(first.size(), 1u);
  const Trace forced =
      loaded.engine.trace(input, dense_plan(spec), {.decode = first, .hidden = false, .statistics = true});
  EXPECT_TRUE(close_relative(decode.ratio_decode, forced.ratio_decode, 1e-9));
}

}  // namespace
}  // namespace yopo
