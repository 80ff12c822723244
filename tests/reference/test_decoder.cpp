// The decoder forward itself: weights that are not copied, gradients, the observer seam.
#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "reference/decoder.h"
#include "tests/reference/fixture.h"

namespace yopo {
namespace {

using testing::loaded_model;

class TorchDecoder : public ::testing::Test {
 protected:
  const OpenModel& model = loaded_model("llava_hf/model").model;
  const DecoderSpec& spec = model.spec.text;
  const TorchWeights weights = load_weights(model.checkpoint, model.spec, at::kFloat);
};

TEST_F(TorchDecoder, WeightsOfTheStoredTypeLieInTheFile) {
  const TensorSlot slot = find_slot(tensor_table(model.spec), Role::Gate, 2);
  const TensorView& view = model.checkpoint.at(slot.name);
  EXPECT_EQ(weights.decoder.layers[2].gate.data_ptr(), static_cast<const void*>(view.bytes.data()));
  const TorchWeights half = load_weights(model.checkpoint, model.spec, at::kBFloat16);
  EXPECT_NE(half.decoder.layers[2].gate.data_ptr(), static_cast<const void*>(view.bytes.data()));
  EXPECT_EQ(half.decoder.layers[2].gate.scalar_type(), at::kBFloat16);
}

TEST_F(TorchDecoder, WeightsOutliveTheCheckpoint) {
  at::Tensor embed;
  {
    const OpenModel own = open_model(testing::fixtures() / "llava_hf/model");
    embed = load_weights(own.checkpoint, own.spec, at::kFloat).decoder.embed;
  }
  EXPECT_TRUE(at::equal(embed, weights.decoder.embed));
}

// The gradient by backward against central differences, through every kind of mask.
TEST_F(TorchDecoder, GradientsFlowThroughEveryRule) {
  Plan pruned = dense_plan(spec);
  set_window(pruned, Window{3, true});
  set_visual_layers(pruned, 3);
  pruned.layers[0].heads = {1, 0, 1, 1};
  pruned.layers[0].updates = {1, 0, 0, 1};
  pruned.layers[1].neurons = Neurons{1, 2, 3, 50};
  std::vector<std::pair<Plan, MaskRules>> variants{{dense_plan(spec), rules_of(Semantics::Skip)},
                                                   {pruned, rules_of(Semantics::Skip)},
                                                   {pruned, rules_of(Semantics::Llava)},
                                                   {pruned, rules_of(Semantics::Qwen2Vl)}};
  variants.push_back(variants.back());
  variants.back().second.self_only = MaskRules::SelfOnly::Literal;

  constexpr int64_t rows = 20;
  const std::vector<SampleLayout> samples{layout_of({{3, 3, 4}}, 0)};
  std::vector<NewPositions> positions(1);
  for (int64_t t = 0; t < rows; ++t) positions[0].ids.push_back(t);
  at::manual_seed(3);
  const at::Tensor start = at::randn({1, rows, spec.hidden_size});
  const at::Tensor weight = at::randn({1, rows, spec.hidden_size});
  const at::Tensor direction = at::randn({1, rows, spec.hidden_size});
  for (size_t i = 0; i < variants.size(); ++i) {
    const std::vector<LayerRule> rules = layer_rules(spec, variants[i].first, variants[i].second, at::kFloat);
    const auto loss = [&](const at::Tensor& embeds) {
      return (run_decoder(spec, weights.decoder, rules, embeds, {samples, positions}) * weight).sum();
    };
    at::Tensor embeds = start.clone().set_requires_grad(true);
    loss(embeds).backward();
    ASSERT_TRUE(embeds.grad().defined());
    const double slope = (embeds.grad() * direction).sum().item<double>();
    const double step = 1e-3;
    const double measured =
        (loss(start + step * direction).item<double>() - loss(start - step * direction).item<double>()) / (2 * step);
    EXPECT_NEAR(measured, slope, 0.02 * std::abs(slope) + 0.05) << "variant " << i;
    EXPECT_GT(std::abs(slope), 1.0) << "variant " << i;
  }
}

TEST_F(TorchDecoder, ObserversSeeEveryRowOnce) {
  constexpr int64_t rows = 600;
  const std::vector<SampleLayout> samples{layout_of({{5, 20, 20}}, 0)};
  std::vector<NewPositions> positions(1);
  for (int64_t t = 0; t < rows; ++t) positions[0].ids.push_back(t);
  const std::vector<LayerRule> rules = layer_rules(spec, dense_plan(spec), rules_of(Semantics::Skip), at::kFloat);
  std::vector<int64_t> attention_rows(size_t(spec.num_hidden_layers), 0), activation_rows = attention_rows,
                                                                          hidden = attention_rows;
  int64_t blocks = 0;
  Observer observer;
  observer.attention = [&](const AttentionBlock& seen) {
    EXPECT_EQ(seen.block.first, attention_rows[size_t(seen.layer)]) << "blocks come in order";
    EXPECT_EQ(seen.weights.sizes(), at::IntArrayRef({1, spec.num_attention_heads, seen.block.rows, seen.block.keys}));
    EXPECT_TRUE(at::allclose(seen.weights.sum(-1), at::ones({1, spec.num_attention_heads, seen.block.rows})));
    EXPECT_LT(seen.block.rows, rows) << "never all rows at once";
    attention_rows[size_t(seen.layer)] += seen.block.rows;
    ++blocks;
  };
  observer.activation = [&](int64_t layer, int64_t past, const at::Tensor& activation) {
    EXPECT_EQ(past, 0);
    EXPECT_EQ(activation.sizes(), at::IntArrayRef({1, rows, spec.intermediate_size}));
    activation_rows[size_t(layer)] += activation.size(1);
  };
  observer.hidden = [&](int64_t layer, const at::Tensor& x) { hidden[size_t(layer)] += x.size(1); };
  run_decoder(spec, weights.decoder, rules, at::randn({1, rows, spec.hidden_size}),
              {samples, positions, nullptr, &observer});
  const std::vector<int64_t> all(size_t(spec.num_hidden_layers), rows);
  EXPECT_EQ(attention_rows, all);
  EXPECT_EQ(activation_rows, all);
  EXPECT_EQ(hidden, all);
  EXPECT_GT(blocks, 2 * spec.num_hidden_layers);
}

}  // namespace
}  // namespace yopo
