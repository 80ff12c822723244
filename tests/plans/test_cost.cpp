// FLOPs and KV formulas: the paper's own figures, brute-force pair counts, and sums by hand.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "plans/cost.h"

namespace yopo {
namespace {

DecoderSpec llava(int64_t layers, int64_t hidden, int64_t heads, int64_t intermediate) {
  DecoderSpec spec;
  spec.num_hidden_layers = layers, spec.hidden_size = hidden, spec.num_attention_heads = heads,
  spec.num_key_value_heads = heads;
  spec.head_dim = hidden / heads, spec.intermediate_size = intermediate, spec.vocab_size = 32000;
  return spec;
}
DecoderSpec llava_7b() { return llava(32, 4096, 32, 11008); }
DecoderSpec llava_13b() { return llava(40, 5120, 40, 13824); }

std::vector<int64_t> first(int64_t count) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < count; ++i) indices.push_back(i);
  return indices;
}

TEST(Cost, PaperFiguresOfTheDenseModels) {
  EXPECT_NEAR(paper_flops(dense_plan(llava_7b()), llava_7b(), 576, 24, 24) / 1e12, 7.63, 0.005);
  EXPECT_NEAR(paper_flops(dense_plan(llava_13b()), llava_13b(), 576, 24, 24) / 1e12, 14.89, 0.005);
}

TEST(Cost, PaperFigureOfTheRecipe) {
  const DecoderSpec spec = llava_7b();
  Plan plan = dense_plan(spec);
  set_visual_layers(plan, 16);
  set_window(plan, Window{5, false});
  for (LayerPlan& layer : plan.layers) {
    std::fill(layer.heads.begin() + 24, layer.heads.end(), uint8_t(0));
    layer.updates = layer.heads;
    layer.neurons = first(5504);
  }
  const double dense = paper_flops(dense_plan(spec), spec, 576, 24, 24);
  EXPECT_NEAR(paper_flops(plan, spec, 576, 24, 24) / dense, 0.285, 0.0005);
  // The window's share of 24^2 x 24^2 pairs: (24 x 5 - 6)^2 with the borders as they are.
  const double n = 576, d = 4096, share = 114.0 * 114.0 / (576.0 * 576.0);
  EXPECT_DOUBLE_EQ(paper_flops(plan, spec, 576, 24, 24),
                   2 * 16 * (4 * 0.75 * n * d * d + 2 * 0.75 * share * n * n * d + 3 * n * d * 5504));
  // Neither is causality counted where it is dense.
  const double whole = paper_flops(plan, spec, 576, 24, 24);
  set_window(plan, Window{5, true});
  EXPECT_EQ(paper_flops(plan, spec, 576, 24, 24), whole);
  // Only what visual queries compute has a window.
  for (LayerPlan& layer : plan.layers) std::fill(layer.updates.begin() + 8, layer.updates.end(), uint8_t(0));
  EXPECT_DOUBLE_EQ(paper_flops(plan, spec, 576, 24, 24),
                   2 * 16 * (2 * n * d * d + 2 * 0.25 * share * n * n * d + 3 * n * d * 5504));
  const PromptShape two{1300, {{4, 24, 24}, {600, 24, 24}}};
  EXPECT_DOUBLE_EQ(paper_flops(plan, spec, two), 2 * paper_flops(plan, spec, 576, 24, 24)) << "each image alone";
}

TEST(Cost, PaperCountsUpdatesApart) {
  const DecoderSpec spec = llava_7b();
  Plan plan = dense_plan(spec);
  for (LayerPlan& layer : plan.layers) std::fill(layer.updates.begin(), layer.updates.end(), uint8_t(0));
  const double n = 576, d = 4096;
  EXPECT_DOUBLE_EQ(paper_flops(plan, spec, 576, 24, 24), 2 * 32 * (2 * n * d * d + 3 * n * d * 11008));
}

TEST(Cost, PairsByBruteForce) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    PromptShape prompt;
    prompt.length = int64_t(random() % 4);
    for (int image = 0; image < round % 4; ++image) {
      prompt.spans.push_back({prompt.length, 1 + int64_t(random() % 6), 1 + int64_t(random() % 6)});
      prompt.length += prompt.spans.back().count() + int64_t(random() % 4);
    }
    prompt.length += 1;
    std::optional<Window> window;
    if (round % 3) window = Window{1 + 2 * int64_t(random() % 5), round % 2 == 1};
    PairCounts expected;
    const auto image_of = [&](int64_t t) {
      for (size_t s = 0; s < prompt.spans.size(); ++s)
        if (t >= prompt.spans[s].start && t < prompt.spans[s].start + prompt.spans[s].count()) return int64_t(s);
      return int64_t(-1);
    };
    for (int64_t q = 0; q < prompt.length; ++q)
      for (int64_t k = 0; k < prompt.length; ++k) {
        const int64_t a = image_of(q), b = image_of(k);
        if (a < 0 && b < 0) expected.text_text += k <= q;
        if (a < 0 && b >= 0) expected.text_visual += k <= q;
        if (a >= 0 && b < 0) expected.visual_text += k <= q;
        if (a < 0 || b < 0) continue;
        if (!window) {
          expected.visual_visual += k <= q;
          continue;
        }
        const Span& span = prompt.spans[size_t(a)];
        const int64_t i = q - span.start, j = k - span.start, r = (window->size - 1) / 2;
        expected.visual_visual += a == b && std::abs(i / span.columns - j / span.columns) <= r &&
                                  std::abs(i % span.columns - j % span.columns) <= r && (!window->causal || k <= q);
      }
    const PairCounts got = count_pairs(prompt, window);
    EXPECT_EQ(got.text_text, expected.text_text);
    EXPECT_EQ(got.text_visual, expected.text_visual);
    EXPECT_EQ(got.visual_text, expected.visual_text);
    EXPECT_EQ(got.visual_visual, expected.visual_visual) << "round " << round;
  }
}

/// Two layers, four heads over two KV heads; the second layer knows nothing of visual tokens.
struct Small {
  DecoderSpec spec = llava(2, 12, 4, 20);
  Plan plan;
  PromptShape prompt = single_image_shape(2, 2, 3, 4);  // 6 visual, 6 text
  Small() {
    spec.num_key_value_heads = 2;
    spec.vocab_size = 50;
    plan = dense_plan(spec);
    plan.layers[0].heads = {1, 1, 1, 0};
    plan.layers[0].updates = {1, 0, 0, 0};
    plan.layers[0].neurons = Neurons{3, 4, 9};
    plan.layers[0].window = Window{3, true};
    plan.layers[1].alive = false;
  }
};

TEST(Cost, ExactByHand) {
  const Small s;
  const Cost cost = prefill_cost(s.plan, s.spec, s.prompt);
  // C D = 12 x 3. Text rows: 6, twice; visual rows: 6 in layer 0 with U = 1, G = 2.
  EXPECT_EQ(cost.projections, 36.0 * (2 * 6 * (2 * 4 + 2 * 2) + 6 * (2 * 1 + 2 * 2)));
  // Text: 21 pairs in 4 heads of both layers; text behind the image reads 24 visual pairs in 3 heads; the updated head
  // reads 12 earlier text pairs and the causal 3 x 3 window's: 2 x 3 grid, (4 x 7 + 6) / 2 = 17.
  EXPECT_EQ(cost.attention, 2 * 3.0 * (2 * 4 * 21 + 3 * 24 + 1 * (12 + 17)));
  EXPECT_EQ(cost.ffn, 3 * 12.0 * (2 * 6 * 20 + 6 * 3));
  EXPECT_EQ(cost.head, 12.0 * 50);
  EXPECT_EQ(prefill_cost(s.plan, s.spec, s.prompt, 12).head, 12 * 12.0 * 50);
  EXPECT_EQ(cost.flops(), 2 * (cost.projections + cost.attention + cost.ffn + cost.head));

  const Cost visual = visual_cost(s.plan, s.spec, s.prompt);
  EXPECT_EQ(visual.projections, 36.0 * 6 * 6);
  EXPECT_EQ(visual.attention, 6.0 * (3 * 24 + 29));
  EXPECT_EQ(visual.ffn, 36.0 * 6 * 3);
  EXPECT_EQ(visual.head, 0);

  const Cost decode = decode_cost(s.plan, s.spec, s.prompt, 2);
  EXPECT_EQ(decode.projections, 36.0 * 2 * 12);
  EXPECT_EQ(decode.attention, 6.0 * (2 * 4 * 9 + 3 * 6));
  EXPECT_EQ(decode.ffn, 36.0 * 2 * 20);
  EXPECT_EQ(decode.head, 600);

  // Keys and values of 3 numbers: text in 2 KV heads of both layers, visual in both KV heads of layer 0.
  EXPECT_EQ(kv_bytes(s.plan, s.spec, s.prompt, 5, 2), 2 * 3 * 2 * (2 * 2 * 11 + 2 * 6));
  EXPECT_EQ(layer_counts(s.plan.layers[0], s.spec), (LayerCounts{3, 1, 2, 3}));
  EXPECT_EQ(layer_counts(s.plan.layers[1], s.spec), LayerCounts{});
}

TEST(Cost, WeightsThatAPassReads) {
  DecoderSpec spec = Small().spec;
  const double layer = 36 * 12 + 3 * 12 * 20 + 24, ends = 12 + 12 * 50;
  EXPECT_EQ(weight_bytes(spec, 2), 2 * (2 * layer + ends));
  spec.attention_bias = true;
  EXPECT_EQ(weight_bytes(spec, 4), 4 * (2 * (layer + 3 * (4 + 2 * 2)) + ends));
  spec.tie_word_embeddings = true;
  EXPECT_EQ(weight_bytes(spec, 4), 4 * (2 * (layer + 3 * (4 + 2 * 2)) + ends)) << "read as the head";
}

TEST(Cost, DroppedGroupsHoldNoKeys) {
  Small s;
  s.plan.layers[0].heads = s.plan.layers[0].updates = {0, 0, 0, 1};
  EXPECT_EQ(layer_counts(s.plan.layers[0], s.spec).kv_heads, 1);
  EXPECT_EQ(kv_bytes(s.plan, s.spec, s.prompt, 0, 1), 2 * 3 * (2 * 2 * 6 + 1 * 6));
  EXPECT_EQ(prefill_cost(s.plan, s.spec, s.prompt).projections, 36.0 * (2 * 6 * 12 + 6 * (2 + 2)));
}

TEST(Cost, EachLayerHasItsOwnWindow) {
  Small s;
  s.plan = dense_plan(s.spec);
  s.plan.layers[0].window = Window{3, true};
  s.plan.layers[1].window = Window{1, false};
  // 17 pairs of the causal 3 x 3 window, and every token itself.
  EXPECT_EQ(prefill_cost(s.plan, s.spec, s.prompt).attention, 2 * 3.0 * 4 * (2 * (21 + 24 + 12) + 17 + 6));
  Plan near = s.plan, far = s.plan;
  set_window(near, Window{1, false}), set_window(far, Window{3, true});
  const auto paper = [&](const Plan& plan) { return paper_flops(plan, s.spec, 6, 2, 3); };
  EXPECT_DOUBLE_EQ(paper(s.plan), (paper(near) + paper(far)) / 2);
  EXPECT_LT(paper(near), paper(far));
}

TEST(Cost, SumsAddUp) {
  const Small s;
  Cost twice = prefill_cost(s.plan, s.spec, s.prompt);
  twice += prefill_cost(s.plan, s.spec, s.prompt);
  EXPECT_EQ(twice.macs(), 2 * prefill_cost(s.plan, s.spec, s.prompt).macs());
  EXPECT_EQ(single_image_shape(3, 0, 0, 4).spans.size(), 0u);
  ModelInput input;
  input.position_ids = {0, 1, 2, 3, 4, 5, 6};
  input.spans = {{1, 2, 2}};
  EXPECT_EQ(shape_of(input).length, 7);
  EXPECT_EQ(shape_of(input).spans.size(), 1u);
}

}  // namespace
}  // namespace yopo
