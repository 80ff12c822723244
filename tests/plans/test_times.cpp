// A table whose products take rows x width and whose pairs take 1 must give what the cost formulas give.
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "core/error.h"
#include "plans/price.h"
#include "plans/times.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

DecoderSpec some_spec() {
  DecoderSpec spec;
  spec.num_hidden_layers = 3, spec.hidden_size = 48, spec.num_attention_heads = 8, spec.num_key_value_heads = 4;
  spec.head_dim = 8, spec.intermediate_size = 96, spec.vocab_size = 100;
  return spec;
}

TimeTable table_of(const DecoderSpec& spec) {
  TimeTable table;
  table.device = "cpu", table.cpu = "a CPU", table.dtype = "fp32", table.threads = 2;
  table.hidden_size = spec.hidden_size, table.num_attention_heads = spec.num_attention_heads;
  table.num_key_value_heads = spec.num_key_value_heads, table.head_dim = spec.head_dim;
  table.intermediate_size = spec.intermediate_size;
  table.rows = {1, 7, 20, 64}, table.widths = {1, 8, 50, 128};
  for (const int64_t rows : table.rows)
    for (const int64_t width : table.widths) table.out.push_back(double(rows * width));
  table.in = table.out;
  return table;
}

LayerPlan random_layer(const DecoderSpec& spec, std::mt19937& random) {
  LayerPlan layer;
  layer.heads = layer.updates = HeadFlags(size_t(spec.num_attention_heads), 0);
  for (size_t h = 0; h < layer.heads.size(); ++h) {
    layer.heads[h] = random() % 3 > 0;
    layer.updates[h] = layer.heads[h] && random() % 2;
  }
  if (random() % 2) layer.window = Window{3, true};
  layer.neurons.emplace();
  for (int64_t n = 0; n < int64_t(random() % 97); ++n) layer.neurons->push_back(n);
  if (random() % 2) {
    auto added = std::make_shared<Compensation>();
    added->rank = int64_t(random() % 9);
    layer.compensation = std::move(added);
  }
  return layer;
}

TEST(Times, LayersIssueWhatTheFormulasCount) {
  const DecoderSpec spec = some_spec();
  const PromptShape prompt = single_image_shape(3, 4, 5, 7);
  TimeTable products = table_of(spec), pairs = table_of(spec);
  std::fill(pairs.out.begin(), pairs.out.end(), 0.0);
  pairs.in = pairs.out;
  pairs.text_pair = pairs.visual_pair = pairs.window_pair = 1;
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    LayerPlan layer = random_layer(spec, random);
    if (round % 10 == 0) {
      layer = dense_plan(spec).layers.front();
      layer.alive = round % 20 == 0;
    }
    const Cost cost = layer_prefill_cost(layer, spec, prompt);
    EXPECT_NEAR(layer_time(products, layer, spec, prompt) * double(spec.hidden_size), cost.projections + cost.ffn,
                1e-6);
    EXPECT_NEAR(layer_time(pairs, layer, spec, prompt) * 2 * double(spec.head_dim), cost.attention, 1e-6);
  }
}

TEST(Times, TheRestIsCountedByRowsHeadsAndNeurons) {
  const DecoderSpec spec = some_spec();
  const PromptShape prompt = single_image_shape(3, 4, 5, 7);  // 20 visual, 10 text
  const auto time = [&](double TimeTable::*field, const LayerPlan& layer) {
    TimeTable table = table_of(spec);
    std::fill(table.out.begin(), table.out.end(), 0.0);
    table.in = table.out;
    table.*field = 1;
    return layer_time(table, layer, spec, prompt);
  };
  LayerPlan layer = dense_plan(spec).layers.front();
  EXPECT_EQ(time(&TimeTable::norm, layer), 2 * 30);
  EXPECT_EQ(time(&TimeTable::rope, layer), 30 * 8);
  EXPECT_EQ(time(&TimeTable::store, layer), 30 * 4);
  EXPECT_EQ(time(&TimeTable::gated, layer), 30 * 96);
  EXPECT_EQ(time(&TimeTable::window_query, layer), 0) << "no window";
  layer.window = Window{3, true};
  EXPECT_EQ(time(&TimeTable::window_query, layer), 20 * 8);
  EXPECT_EQ(time(&TimeTable::visual_pair, layer), 0);
  layer.neurons.emplace(Neurons{0, 1});
  EXPECT_EQ(time(&TimeTable::gated, layer), 20 * 2 + 10 * 96);
  layer.alive = false;
  EXPECT_EQ(time(&TimeTable::norm, layer), 2 * 10);
  EXPECT_EQ(time(&TimeTable::gated, layer), 10 * 96);
}

TEST(Times, BetweenAndBeyondWhatWasMeasured) {
  TimeTable table;
  table.rows = {10, 20}, table.widths = {4, 8};
  table.out = {1, 3, 2, 8};
  const auto at = [&](double rows, double width) { return product_time(table, table.out, rows, width); };
  EXPECT_DOUBLE_EQ(at(10, 4), 1);
  EXPECT_DOUBLE_EQ(at(20, 8), 8);
  EXPECT_DOUBLE_EQ(at(15, 4), 1.5);
  EXPECT_DOUBLE_EQ(at(10, 6), 2);
  EXPECT_DOUBLE_EQ(at(15, 6), 3.5);
  EXPECT_DOUBLE_EQ(at(40, 8), 16) << "in proportion";
  EXPECT_DOUBLE_EQ(at(20, 16), 16);
  EXPECT_DOUBLE_EQ(at(5, 2), 1) << "a product takes its set-up, however small";
  EXPECT_EQ(at(0, 8), 0);
  EXPECT_EQ(at(20, 0), 0);
}

TEST(Times, APrefillIsItsLayersAndTheRest) {
  const DecoderSpec spec = some_spec();
  TimeTable table = table_of(spec);
  table.fixed = 5, table.layer_scale = 2;
  const PromptShape prompt = single_image_shape(3, 4, 5, 7);
  const Plan plan = dense_plan(spec);
  TimeTable plain = table_of(spec);
  EXPECT_DOUBLE_EQ(prefill_time(table, plan, spec, prompt),
                   5 + 3 * 2 * layer_time(plain, plan.layers[0], spec, prompt));
  const CostModel prices{Budget::Kind::Time, 2, std::make_shared<const TimeTable>(table)};
  EXPECT_DOUBLE_EQ(layer_price(prices, plan.layers[0], spec, prompt), layer_time(table, plan.layers[0], spec, prompt));
}

TEST(Times, FilesReadBackAndFaultsAreNamed) {
  const testing::TemporaryFolder folder;
  const DecoderSpec spec = some_spec();
  TimeTable table = table_of(spec);
  table.norm = 0.25, table.gated = 1e-7, table.fixed = 3.5;
  const fs::path file = folder.path() / "times.json";
  const Json good = times_to_json(table);
  write_json(file, good);
  EXPECT_EQ(times_to_json(read_times(file)), good);
  check_times(read_times(file), spec, "cpu", "fp32", "x");
  EXPECT_USER_ERROR(check_times(table, spec, "cuda", "fp32", "x"), "times of cpu in fp32; here it is cuda in fp32");
  EXPECT_USER_ERROR(check_times(table, spec, "cpu", "bf16", "x"), "here it is cpu in bf16");
  DecoderSpec other = spec;
  other.intermediate_size = 128;
  EXPECT_USER_ERROR(check_times(table, other, "cpu", "fp32", "x"), "intermediate_size 96, here 128");

  const auto refused = [&](const std::function<void(Json&)>& change, const std::string& part) {
    Json bad = good;
    change(bad);
    write_json(file, bad);
    EXPECT_USER_ERROR(read_times(file), part);
    EXPECT_USER_ERROR(read_times(file), file.string());
  };
  refused([](Json& t) { t["out"][1][2] = -1.0; }, "out[1][2]: expected a time of 0 or more");
  refused([](Json& t) { t["out"][1][2] = nullptr; }, "out[1][2]: expected a number, found null");
  refused([](Json& t) { t["in"].erase(0); }, "in: expected 4 lines");
  refused([](Json& t) { t["in"][0].erase(0); }, "in[0]: expected 4 times");
  refused([](Json& t) { t["rows"] = Json::array({4, 4, 5, 6}); }, "rows: expected ascending");
  refused([](Json& t) { t["widths"] = Json::array(); }, "widths: expected 1 to");
  refused([](Json& t) { t["fixd"] = 1; }, "did you mean 'fixed'?");
  refused([](Json& t) { t.erase("fixed"); }, "'fixed' is missing");
  refused([](Json& t) { t["format"] = "yopo plan"; }, "expected a table of times");
  refused([](Json& t) { t["version"] = 2; }, "version");
  refused([](Json& t) { t["model"]["hidden_size"] = 0; }, "hidden_size");
  write_json(file, Json::array());
  EXPECT_USER_ERROR(read_times(file), "expected a table of times");
}

}  // namespace
}  // namespace yopo
