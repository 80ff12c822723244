// The runtime against an independent decoder in double precision, under random plans: grouped-query attention, biases,
// odd sizes, several images, windows, empty and full sets. Counters and KV bytes against plans/cost.h.
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/ops.h"
#include "tests/runtime/fixtures.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

using runtime::Engine;
using testing::close_relative;

/// Packed weights and rows of them in turn.
runtime::Options packed_or_not(int i) {
  runtime::Options options = testing::on_device();
  options.pack = i % 4 < 2;
  return options;
}

void check_against_reference(const Engine& engine, const testing::ReferenceWeights& weights, ModelInput input,
                             std::mt19937& random) {
  const DecoderSpec& spec = engine.spec().text;
  TraceOptions options;
  for (int i = 0; i < 2; ++i) options.decode.push_back(int64_t(random() % uint64_t(spec.vocab_size)));
  engine.counters() = {};
  const Trace trace = engine.trace(input, options);
  const PromptShape shape = shape_of(input);
  testing::ReferenceResult expected =
      testing::reference_forward(spec, weights, engine.plan(), input.embeds, input.position_ids, input.spans);
  EXPECT_TRUE(close_relative(trace.hidden, expected.hidden, 1e-5));
  EXPECT_TRUE(close_relative(trace.logits, expected.logits, 1e-5));

  const std::vector<double> table = weights(Role::EmbedTokens, -1);
  std::vector<double> decoded;
  for (const int64_t token : options.decode) {
    testing::append_row(input, table, token, spec.hidden_size);
    const testing::ReferenceResult longer =
        testing::reference_forward(spec, weights, engine.plan(), input.embeds, input.position_ids, input.spans);
    decoded.insert(decoded.end(), longer.logits.end() - spec.vocab_size, longer.logits.end());
  }
  EXPECT_TRUE(close_relative(trace.decode_logits, decoded, 1e-5));

  EXPECT_EQ(engine.counters().prefill, prefill_cost(engine.plan(), spec, shape, shape.length));
  Cost decode = decode_cost(engine.plan(), spec, shape, 0);
  decode += decode_cost(engine.plan(), spec, shape, 1);
  EXPECT_EQ(engine.counters().decode, decode);
  EXPECT_EQ(engine.counters().kv_bytes, kv_bytes(engine.plan(), spec, shape, 2, 4));
}

TEST(Plans, RandomPlansWithGroupedQueries) {
  std::mt19937 random(7);
  const ModelSpec spec = testing::small_spec();
  const testing::ReferenceWeights weights = testing::drawn_weights(spec, 11);
  for (int i = 0; i < 40; ++i) {
    SCOPED_TRACE(i);
    const Engine engine(spec, testing::drawn_plan(spec.text, random), packed_or_not(i), 11);
    check_against_reference(engine, weights, testing::drawn_input(spec.text, random, i % 3), random);
  }
}

TEST(Plans, RandomPlansWithNormedHeads) {
  std::mt19937 random(12);
  ModelSpec spec = testing::small_spec();
  spec.text.qk_norm = true;
  const testing::ReferenceWeights weights = testing::drawn_weights(spec, 11);
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE(i);
    const Engine engine(spec, testing::drawn_plan(spec.text, random), packed_or_not(i), 11);
    check_against_reference(engine, weights, testing::drawn_input(spec.text, random, i % 3), random);
  }
}

TEST(Plans, RandomPlansOnTheFixtureModel) {
  std::mt19937 random(8);
  const OpenModel model = open_model(testing::fixture("llava_hf/model"));
  const testing::ReferenceWeights weights = testing::stored_weights(model);
  for (int i = 0; i < 12; ++i) {
    SCOPED_TRACE(i);
    const Engine engine(model, testing::drawn_plan(model.spec.text, random), packed_or_not(i));
    check_against_reference(engine, weights, testing::drawn_input(model.spec.text, random, 1 + i % 2), random);
  }
}

TEST(Plans, NothingVisualLeavesTheTextAlone) {
  std::mt19937 random(9);
  const ModelSpec spec = testing::small_spec();
  const ModelInput input = testing::drawn_input(spec.text, random, 2);
  Plan none = dense_plan(spec.text);
  set_visual_layers(none, 0);
  const Engine engine(spec, none, testing::on_device(), 3);
  check_against_reference(engine, testing::drawn_weights(spec, 3), input, random);
  EXPECT_EQ(visual_cost(none, spec.text, shape_of(input)).macs(), 0);
}

TEST(Plans, PromptOfImagesAlone) {
  std::mt19937 random(10);
  const ModelSpec spec = testing::small_spec();
  ModelInput input = testing::drawn_input(spec.text, random, 1);
  const Span span = input.spans[0];
  input.spans[0].start = 0;
  input.position_ids.resize(size_t(span.count()));
  input.embeds.resize(size_t(span.count() * spec.text.hidden_size));
  Plan plan = dense_plan(spec.text);
  set_visual_layers(plan, 2);
  set_window(plan, Window{3, false});
  check_against_reference(Engine(spec, plan, testing::on_device(), 3), testing::drawn_weights(spec, 3), input, random);
}

// A dense twin over reordered weights is the dense model.
TEST(Plans, DenseTwinSharesReorderedWeights) {
  std::mt19937 random(12);
  const ModelSpec spec = testing::small_spec();
  const Engine engine(spec, testing::drawn_plan(spec.text, random), testing::on_device(), 5);
  const Engine dense = engine.dense();
  EXPECT_TRUE(is_dense(dense.plan(), spec.text));
  check_against_reference(dense, testing::drawn_weights(spec, 5), testing::drawn_input(spec.text, random, 2), random);
}

// Packed weights are cut for their engine's plan; a plan that needs other cuts gets weights of its own.
TEST(Plans, OtherPlansOverPackedWeights) {
  std::mt19937 random(14);
  const ModelSpec spec = testing::small_spec();
  const testing::ReferenceWeights weights = testing::drawn_weights(spec, 5);
  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 5);
  for (int64_t neurons = 1; neurons < spec.text.intermediate_size; neurons += 7) {
    SCOPED_TRACE(neurons);
    Plan plan = dense_plan(spec.text);
    for (LayerPlan& layer : plan.layers) {
      layer.neurons.emplace();
      for (int64_t n = 0; n < neurons; ++n) layer.neurons->push_back(n);
    }
    check_against_reference(engine.under(plan), weights, testing::drawn_input(spec.text, random, 1), random);
  }
  check_against_reference(engine, weights, testing::drawn_input(spec.text, random, 1), random);
}

// Weights merged for one plan serve the dense one, and one that stops earlier.
TEST(Plans, MergedWeightsServeTheDensePlan) {
  std::mt19937 random(15);
  const ModelSpec spec = testing::small_spec();
  const testing::ReferenceWeights weights = testing::drawn_weights(spec, 5);
  for (int i = 0; i < 6; ++i) {
    SCOPED_TRACE(i);
    Plan plan = testing::drawn_plan(spec.text, random);
    const Engine engine(spec, plan, testing::on_device(), 5);
    const int64_t bytes = engine.weight_bytes_owned();
    const Engine dense = engine.dense();
    EXPECT_EQ(dense.weight_bytes_owned(), bytes);
    check_against_reference(dense, weights, testing::drawn_input(spec.text, random, 1 + i % 2), random);
    const int64_t alive = visual_layers(plan);
    if (alive == 0) continue;
    set_visual_layers(plan, alive - 1);
    plan.layers[size_t(alive - 1)].compensation = nullptr;
    check_against_reference(engine.under(plan), weights, testing::drawn_input(spec.text, random, 1), random);
    check_against_reference(engine, weights, testing::drawn_input(spec.text, random, 1), random);
  }
}

int64_t products = 0;  // issued through counting_ops

/// The tested device's table, whose products are counted.
const runtime::Ops& counting_ops() {
  static const runtime::Ops ops = [] {
    runtime::Ops counting = testing::tested_ops();
    counting.gemm = [](const runtime::Gemm& gemm) {
      ++products;
      testing::tested_ops().gemm(gemm);
    };
    return counting;
  }();
  return ops;
}

// Whatever the plan, heads all over the groups included: q, k, v; o; gate, up; down, each once for all rows and once
// for the text rows. What is dense needs them once.
TEST(Plans, AtMostEightProductsALayer) {
  std::mt19937 random(16);
  const ModelSpec spec = testing::small_spec();
  const DecoderSpec& s = spec.text;
  Plan scattered = dense_plan(s);  // every other head is updated, all groups are read, three layers of their own kind
  for (LayerPlan& layer : scattered.layers) {
    for (size_t head = 0; head < layer.updates.size(); ++head) layer.updates[head] = head % 2 == 0;
    layer.neurons = Neurons{1, 5, 8, 30};
  }
  scattered.layers[1].updates.assign(size_t(s.num_attention_heads), 0);
  Plan shallow = scattered;
  set_visual_layers(shallow, 1);
  const runtime::Ops& tested = testing::tested_ops();
  const bool merges = !tested.host_memory || (tested.packed_bytes && tested.packed_bytes(DType::F32, 64, 64) > 0);
  const auto counted = [&](const Plan& plan, int64_t images, bool decode) {
    runtime::Options options = testing::on_device();
    options.ops = &counting_ops();
    const Engine engine(spec, plan, options, 5);
    const ModelInput input = testing::drawn_input(s, random, images);
    products = 0;
    const auto session = engine.prefill({input}, 1);
    if (decode) {
      products = 0;
      engine.decode(*session, {0}, {3});
    }
    return products - 1;  // the head
  };
  const int64_t layers = s.num_hidden_layers, whole = merges ? 4 : 7;
  for (const bool decode : {false, true}) EXPECT_EQ(counted(dense_plan(s), 1, decode), whole * layers);
  EXPECT_EQ(counted(dense_plan(s), 0, false), whole * layers);
  for (const Plan& plan : {scattered, shallow})
    for (const int64_t images : {0, 1})
      for (const bool decode : {false, true}) {
        // Without merged weights each run of updated heads and of others is a product of q and one of o.
        const int64_t most = merges ? 8 * layers : (2 * (s.num_attention_heads + 2) + 4 + 6) * layers;
        EXPECT_LE(counted(plan, images, decode), most) << images << " images, decode " << decode;
      }
}

// Other plans over the weights of one order, with and without holes among their heads, are what they are alone.
TEST(Plans, OtherPlansOverTheSameWeights) {
  std::mt19937 random(13);
  const OpenModel model = open_model(testing::fixture("llava_hf/model"));
  const DecoderSpec& spec = model.spec.text;
  const testing::ReferenceWeights weights = testing::stored_weights(model);
  std::vector<LayerOrder> orders(size_t(spec.num_hidden_layers), identity_order(spec));
  for (LayerOrder& order : orders) {
    std::reverse(order.neurons.begin(), order.neurons.end());
    std::reverse(order.kv_heads.begin(), order.kv_heads.end());
    order.heads.clear();
    for (const int64_t kv : order.kv_heads)
      for (int64_t i = 0; i < spec.group_size(); ++i) order.heads.push_back(kv * spec.group_size() + i);
  }
  const Engine whole(model, dense_plan(spec), orders, testing::on_device());
  for (int i = 0; i < 8; ++i) {
    SCOPED_TRACE(i);
    Plan plan = testing::drawn_plan(spec, random);
    for (LayerPlan& layer : plan.layers) {
      layer.neurons.emplace();
      for (int64_t n = spec.intermediate_size - 1 - int64_t(random() % 40); n < spec.intermediate_size; ++n)
        layer.neurons->push_back(n);
    }
    const ModelInput input = testing::drawn_input(spec, random, 1 + i % 2);
    const Trace trace = whole.under(plan, true).trace(input, {});
    const testing::ReferenceResult expected =
        testing::reference_forward(spec, weights, plan, input.embeds, input.position_ids, input.spans);
    EXPECT_TRUE(close_relative(trace.hidden, expected.hidden, 1e-5));
    EXPECT_TRUE(close_relative(trace.logits, expected.logits, 1e-5));
  }
  Plan hole = dense_plan(spec);
  hole.layers[0].heads.back() = hole.layers[0].updates.back() = 0;  // the first of these orders
  hole.layers[0].heads[0] = hole.layers[0].updates[0] = 0;
  if (spec.group_size() == 1) {
    EXPECT_THROW(whole.under(hole), InternalError);
  }
}

TEST(Plans, UserMistakesAreNamed) {
  const ModelSpec spec = testing::small_spec();
  Plan plan = dense_plan(spec.text);
  plan.semantics = Semantics::Llava;
  EXPECT_THROW(Engine(spec, plan, testing::on_device(), 1), UserError);
  plan.semantics = Semantics::Skip;
  EXPECT_THROW(Engine(spec, plan, testing::on_device("fp64"), 1), UserError);
  if (!testing::tested_ops().supports(DType::F16, nullptr)) {
    EXPECT_THROW(Engine(spec, plan, testing::on_device("fp16"), 1), UserError);
  }
  EXPECT_THROW(Engine(spec, plan, {.dtype = "fp32", .device = "tpu"}, 1), UserError);
  plan.layers.pop_back();
  EXPECT_THROW(Engine(spec, plan, testing::on_device(), 1), UserError);

  const Engine engine(spec, dense_plan(spec.text), testing::on_device(), 1);
  ModelInput input;
  EXPECT_THROW(engine.prefill({input}, 0), UserError);
  EXPECT_THROW(engine.prefill({}, 0), UserError);
  input.input_ids = {1, spec.text.vocab_size};
  input.position_ids = {0, 1};
  EXPECT_THROW(engine.prefill({input}, 0), UserError);
  input.input_ids = {1, 2};
  input.images = 1;
  EXPECT_THROW(engine.prefill({input}, 0), UserError);
  input.images = 0;
  input.spans = {{1, 2, 2}};
  EXPECT_THROW(engine.prefill({input}, 0), UserError);
  input.spans.clear();
  const auto session = engine.prefill({input}, 1);
  engine.decode(*session, {0}, {3});
  EXPECT_THROW(engine.decode(*session, {0}, {3}), InternalError);  // past the capacity
}

}  // namespace
}  // namespace yopo
