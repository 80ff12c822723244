// The runtime against the reference implementation's recorded cases.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "tests/runtime/fixtures.h"
#include "tests/runtime/row_norm_bound.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/close.h"
#include "tests/support/reference_case.h"

namespace yopo {
namespace {

using runtime::Engine;
using testing::Case;
using testing::close;
using testing::fixture;
using testing::read_case;

using testing::CaseOf;
using testing::open_case_model;

class ReferenceCase : public ::testing::TestWithParam<CaseOf> {};

std::vector<std::string> skip_runs(const Case& data) {
  std::vector<std::string> runs;
  const Json skips = data.json.value("skip", Json::object());
  for (const auto& [name, value] : skips.items()) runs.push_back(name);
  return runs;
}

std::vector<float> last_row(const std::vector<float>& logits, int64_t vocab) {
  return {logits.end() - vocab, logits.end()};
}

TEST_P(ReferenceCase, DenseFromEmbeddings) {
  const Case data = read_case(GetParam().test);
  const OpenModel model = open_case_model(GetParam());
  const Engine engine(model, dense_plan(model.spec.text), testing::on_device());
  const double tolerance = data.json["tolerance"]["dense"]["values"];
  TraceOptions options;
  options.decode = data.decode;
  const Trace trace = engine.trace(data.embedded(), options);
  const SafetensorsFile expected = data.file("dense");
  EXPECT_TRUE(close(trace.hidden, expected.at("hidden").floats(), tolerance));
  const std::vector<float> last = last_row(trace.logits, trace.vocab_size);
  const bool whole = expected.contains("logits");
  EXPECT_TRUE(close(whole ? trace.logits : last, expected.at(whole ? "logits" : "logits_last").floats(), tolerance));
  EXPECT_TRUE(close(trace.decode_logits, expected.at("decode_logits").floats(), tolerance));
}

TEST_P(ReferenceCase, EveryPlanFromEmbeddings) {
  const Case data = read_case(GetParam().test);
  const OpenModel model = open_case_model(GetParam());
  const std::vector<std::string> runs = skip_runs(data);
  const auto files = fs::directory_iterator(fixture(GetParam().test));
  ASSERT_EQ(int64_t(runs.size()), std::count_if(begin(files), end(files), [](const fs::directory_entry& file) {
              return file.path().filename().string().starts_with("skip_") && file.path().extension() == ".json";
            }));
  for (const std::string& run : runs) {
    SCOPED_TRACE(run);
    const Plan plan = read_plan(fixture(GetParam().test) / ("skip_" + run + ".plan.json"));
    const Engine engine(model, plan, testing::on_device());
    const double tolerance = data.json["skip"][run]["tolerance"];
    TraceOptions options;
    options.decode = data.decode;
    const Trace trace = engine.trace(data.embedded(), options);
    const SafetensorsFile expected = data.file("skip_" + run);
    EXPECT_TRUE(close(trace.hidden, expected.at("hidden").floats(), tolerance));
    EXPECT_TRUE(close(last_row(trace.logits, trace.vocab_size), expected.at("logits_last").floats(), tolerance));
    EXPECT_TRUE(close(trace.decode_logits, expected.at("decode_logits").floats(), tolerance));

    // What was promised is what was spent, to the last multiply-add and byte.
    const PromptShape shape{data.embedded().length(), data.spans};
    EXPECT_EQ(engine.counters().prefill, prefill_cost(plan, model.spec.text, shape, shape.length));
    Cost decode;
    for (int64_t i = 0; i < int64_t(data.decode.size()); ++i) decode += decode_cost(plan, model.spec.text, shape, i);
    EXPECT_EQ(engine.counters().decode, decode);
    EXPECT_EQ(engine.counters().kv_bytes, kv_bytes(plan, model.spec.text, shape, int64_t(data.decode.size()), 4));
  }
}

TEST_P(ReferenceCase, FromPixels) {
  const Case data = read_case(GetParam().test);
  const OpenModel model = open_case_model(GetParam());
  const Engine engine(model, dense_plan(model.spec.text), testing::on_device());
  const SafetensorsFile expected = data.file("dense");
  const ModelInput input = read_input(model.spec, fixture(GetParam().test) / "inputs.safetensors");
  TraceOptions options;
  options.decode = data.decode;
  const Trace trace = engine.trace(input, options);
  const double tolerance = testing::pixel_tolerance(data.json);
  for (const auto& [name, values] :
       {std::pair{"vision_hidden", &trace.vision_hidden}, {"vision_features", &trace.vision_features}})
    if (expected.contains(name)) {
      EXPECT_TRUE(close(*values, expected.at(name).floats(), tolerance)) << name;
    }
  EXPECT_TRUE(close(trace.hidden, expected.at("hidden").floats(), tolerance));
  EXPECT_TRUE(close(trace.decode_logits, expected.at("decode_logits").floats(), tolerance));
  EXPECT_EQ(engine.counters().vision_macs > 0, !data.spans.empty());
}

void within_row_norm_bound(const CaseOf& named, const std::string& dtype, double unit) {
  const Case data = read_case(named.test);
  const OpenModel model = open_case_model(named);
  const bool pruned = !data.spans.empty();
  const Plan plan = pruned ? read_plan(fixture(named.test) / "skip_all.plan.json") : dense_plan(model.spec.text);
  if (!testing::tested_ops().supports(dtype_from_name(dtype), nullptr)) {
    EXPECT_THROW(Engine(model, plan, testing::on_device(dtype)), UserError);
    return;
  }
  const Engine engine(model, plan, testing::on_device(dtype));
  TraceOptions options;
  options.decode = data.decode;
  const Trace trace = engine.trace(data.embedded(), options);
  const SafetensorsFile expected = data.file(pruned ? "skip_all" : "dense");
  testing::expect_within_row_norm_bound(trace, expected.at("hidden").floats(), 2 * trace.layers,
                                        data.json["fp32_noise_vs_float64"]["dense"]["hidden"], unit);
  EXPECT_EQ(engine.counters().kv_bytes,
            kv_bytes(engine.plan(), model.spec.text, {trace.length, data.spans}, int64_t(data.decode.size()), 2));
}

TEST_P(ReferenceCase, Bf16WithinRowNormBound) { within_row_norm_bound(GetParam(), "bf16", 0x1p-9); }
TEST_P(ReferenceCase, Fp16WithinRowNormBound) { within_row_norm_bound(GetParam(), "fp16", 0x1p-12); }

INSTANTIATE_TEST_SUITE_P(Families, ReferenceCase, ::testing::ValuesIn(testing::reference_cases()),
                         [](const auto& info) {
                           std::string name =
                               info.param.model + "_" + info.param.test.substr(info.param.test.rfind('/') + 1);
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

class ReferenceBatch : public ::testing::TestWithParam<std::string> {};

TEST_P(ReferenceBatch, PaddedCaseGivesTheRowsOfEachSample) {
  const OpenModel model = open_model(fixture(GetParam() + "/model"));
  const Engine engine(model, dense_plan(model.spec.text), testing::on_device());
  const testing::PaddedBatch batch = testing::padded_batch(model.spec, GetParam());
  const auto session = engine.prefill(batch.samples, 0);
  const int64_t vocab = model.spec.text.vocab_size;
  for (size_t b = 0; b < batch.samples.size(); ++b) {
    const auto got = engine.logits(*session).begin() + int64_t(b) * vocab;
    EXPECT_TRUE(close(std::vector<float>(got, got + vocab), last_row(batch.logits[b], vocab), 2e-3));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ReferenceBatch, ::testing::Values("llava_hf", "qwen2vl"),
                         [](const auto& info) { return info.param; });

// Ready embeddings and pixels in one batch: the tower's features go to the rows of their own request.
TEST(ReferenceMixedBatch, PixelsBetweenEmbeddings) {
  const OpenModel model = open_model(fixture("llava_hf/model"));
  const Engine engine(model, dense_plan(model.spec.text), testing::on_device());
  const ModelInput ready = read_case("llava_hf/cases/two_images").embedded();
  const ModelInput single = read_input(model.spec, fixture("llava_hf/cases/single/inputs.safetensors"));
  const ModelInput two = read_input(model.spec, fixture("llava_hf/cases/two_images/inputs.safetensors"));
  const std::vector<ModelInput> inputs{ready, single, two, ready, single};
  const auto batch = engine.prefill(inputs, 0);
  const int64_t vocab = model.spec.text.vocab_size;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto alone = engine.prefill({inputs[i]}, 0);
    const auto row = engine.logits(*batch).begin() + int64_t(i) * vocab;
    EXPECT_TRUE(testing::close_relative(std::vector<float>(row, row + vocab), engine.logits(*alone), 1e-5)) << i;
  }
}

}  // namespace
}  // namespace yopo
