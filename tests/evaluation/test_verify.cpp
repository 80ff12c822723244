// The project's central promise on the trained demo model: the skipping runtime equals the masking forward, and what it
// counts is what the plan promised.
#include "evaluation/verify.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "compress/make_plan.h"
#include "core/error.h"
#include "evaluation/compare.h"
#include "exporters/export.h"
#include "plans/pruned_config.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path kDemo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid";

/// Three quarters of the heads, half of them updated, a third of the neurons, windows that differ by layer, 9 of 11
/// layers.
Plan some_plan(const DecoderSpec& spec) {
  Plan plan = dense_plan(spec);
  set_window(plan, Window{3, true});
  plan.layers[2].window = Window{5, false};
  plan.layers[5].window.reset();
  set_visual_layers(plan, 9);
  for (int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    for (int64_t h = 6; h < 8; ++h) plan.layers[l].heads[h] = plan.layers[l].updates[h] = 0;
    for (int64_t h = 3; h < 8; ++h) plan.layers[l].updates[h] = 0;
    plan.layers[l].neurons = Neurons(128);
    for (int64_t i = 0; i < 128; ++i) (*plan.layers[l].neurons)[i] = i;
  }
  return random_plan(plan, spec, 7);
}

std::vector<Sample> demo_samples(int64_t count) {
  DatasetOptions dataset;
  dataset.questions = kDemo / "data/test/questions.jsonl";
  dataset.images = kDemo / "data/test/images";
  return choose_samples(read_samples(dataset), count, 1);
}

const VerifyCheck& check(const VerifyResult& result, const std::string& name) {
  for (const VerifyCheck& c : result.checks)
    if (c.name == name) return c;
  throw InternalError("no check " + name);
}

TEST(Verify, RuntimeEqualsTorchOnFiftyDemoSamples) {
  const testing::TemporaryFolder folder;
  const OpenModel original = open_model(kDemo / "model");
  export_checkpoint(original, some_plan(original.spec.text), folder / "pruned", {});
  VerifyOptions options;
  options.original = kDemo / "model";
  options.samples = demo_samples(50);
  const VerifyResult result = verify(open_model(folder / "pruned"), options);
  EXPECT_EQ(result.checks.size(), 6u);
  for (const VerifyCheck& c : result.checks) EXPECT_TRUE(c.passed) << c.name << " " << c.value << " > " << c.limit;
  EXPECT_TRUE(result.passed);
  EXPECT_EQ(result.kv_bytes["counted"], result.kv_bytes["promised"]);
  EXPECT_LT(result.kv_bytes["counted"].get<double>(), 0.75 * result.kv_bytes["dense_promised"].get<double>());
}

// Engines one at a time, their layers streamed, several samples together: the same verdict and the same accounts.
TEST(Verify, WithinLittleMemory) {
  const testing::TemporaryFolder folder;
  const OpenModel original = open_model(kDemo / "model");
  export_checkpoint(original, some_plan(original.spec.text), folder / "pruned", {});
  VerifyOptions options;
  options.original = kDemo / "model";
  // The first four ask about one image: what they share is not left out of the accounts.
  DatasetOptions dataset;
  dataset.questions = kDemo / "data/test/questions.jsonl";
  dataset.images = kDemo / "data/test/images";
  options.samples = read_samples(dataset);
  options.samples.resize(7);
  ASSERT_EQ(options.samples[0].images, options.samples[3].images);
  const OpenModel pruned = open_model(folder / "pruned");
  const VerifyResult whole = verify(pruned, options);
  options.memory = 14'000'000;  // the weights are 10.8 MB in fp32
  const VerifyResult little = verify(pruned, options);
  EXPECT_TRUE(whole.passed);
  EXPECT_TRUE(little.passed);
  EXPECT_EQ(little.flops, whole.flops);
  EXPECT_EQ(little.kv_bytes, whole.kv_bytes);
  options.memory = 1'000'000;
  EXPECT_USER_ERROR(verify(pruned, options), "memory");
}

// Logits of three rows over four tokens, the last row the only one of the prompt that counts.
Trace given(std::vector<std::vector<float>> rows) {
  Trace trace;
  trace.vocab_size = 4;
  trace.logits = {9, 0, 0, 0};  // of an earlier row
  trace.logits.insert(trace.logits.end(), rows[0].begin(), rows[0].end());
  for (size_t i = 1; i < rows.size(); ++i)
    trace.decode_logits.insert(trace.decode_logits.end(), rows[i].begin(), rows[i].end());
  return trace;
}

TEST(Verify, ATextIsTheSameIfEveryTokenWouldBeChosen) {
  const std::vector<float> zero{5, 1, 1, 1}, one{1, 5, 5, 1}, three{1, 1, 1, 5}, nothing{NAN, 1, 1, 5};
  const std::vector<int64_t> eos{3};
  EXPECT_TRUE(would_choose(given({zero, one, three}), {0, 1}, 8, eos));
  EXPECT_TRUE(would_choose(given({zero, one}), {0, 1}, 2, eos)) << "ends at the limit: nothing is decoded behind it";
  EXPECT_TRUE(would_choose(given({three}), {}, 8, eos));
  EXPECT_FALSE(would_choose(given({zero, one, three}), {0, 2}, 8, eos)) << "the first among equals";
  EXPECT_FALSE(would_choose(given({one, one, three}), {0, 1}, 8, eos));
  EXPECT_FALSE(would_choose(given({zero, one, zero}), {0, 1}, 8, eos)) << "goes on instead of ending";
  EXPECT_FALSE(would_choose(given({zero, one}), {0, 1}, 8, eos)) << "a row is missing";
  EXPECT_FALSE(would_choose(given({zero, one, three}), {0, 1}, 2, eos)) << "a row too many";
  EXPECT_FALSE(would_choose(given({zero, one, nothing}), {0, 1}, 8, eos));
}

TEST(Verify, DecodedRowsAreCompared) {
  const Trace trace = given({{5, 1, 1, 1}, {1, 4, 1, 1}, {1, 1, 8, 1}});
  EXPECT_EQ(logits_difference(trace, trace), 0);
  Trace other = trace;
  other.decode_logits[7] = 3;
  EXPECT_DOUBLE_EQ(logits_difference(other, trace), 0.25);
  other.decode_logits.resize(4);
  EXPECT_EQ(logits_difference(other, trace), INFINITY) << "a row is missing";
  other.decode_logits.clear();
  EXPECT_EQ(logits_difference(other, trace), INFINITY);
  Trace short_text = trace;
  short_text.decode_logits.clear();
  EXPECT_EQ(logits_difference(other, short_text), 0) << "nothing was decoded";
  other = trace;
  other.logits[0] = 0;
  EXPECT_DOUBLE_EQ(logits_difference(other, trace), 1);
  other.logits[0] = NAN;
  EXPECT_EQ(logits_difference(other, trace), INFINITY);
}

// Texts that end by themselves, and such as are cut.
TEST(Verify, ShortTexts) {
  const testing::TemporaryFolder folder;
  const OpenModel original = open_model(kDemo / "model");
  export_checkpoint(original, some_plan(original.spec.text), folder / "pruned", {});
  VerifyOptions options;
  options.samples = demo_samples(3);
  for (const int64_t limit : {1, 2, 16}) {
    options.max_new_tokens = limit;
    const VerifyResult result = verify(open_model(folder / "pruned"), options);
    EXPECT_TRUE(result.passed) << limit;
    EXPECT_EQ(result.flops["decode"]["counted"].get<double>() > 0, limit > 1);
  }
}

TEST(Verify, ResultsAreReadBack) {
  VerifyResult result;
  result.checks = {{"skip_logits", 1.5e-6, 1e-4, true}, {"skip_hidden", INFINITY, 1e-4, false}};
  result.flops["prefill"] = 3;
  result.inputs = "abc";
  const Json json = verify_to_json(result);
  const VerifyResult back = verify_from_json(json, "verify.json");
  EXPECT_EQ(verify_to_json(back), json);
  EXPECT_FALSE(back.passed);
  EXPECT_EQ(back.inputs, "abc");
  EXPECT_TRUE(std::isinf(back.checks.at(1).value));
  EXPECT_USER_ERROR((void)verify_from_json(Json::array(), "verify.json"), "verify.json: expected an object");
  for (const char* key : {"checks", "flops", "kv_bytes"}) {
    Json without = json;
    without.erase(key);
    EXPECT_USER_ERROR((void)verify_from_json(without, "verify.json"), key);
  }
}

TEST(Compare, ResultsAreReadBack) {
  Comparison comparison;
  comparison.samples = 20;
  comparison.paper_fraction = 0.305;
  comparison.exact_fraction = 0.327;
  comparison.exact_total_fraction = 0.44;
  comparison.dense = {1, 2, 3, 4.5, 5.5};
  comparison.pruned = {6, 7, 8, 9.5, 10.5};
  const Json json = comparison_to_json(comparison);
  EXPECT_EQ(comparison_to_json(comparison_from_json(json, "comparison.json")), json);
  Json without = json;
  without["pruned"].erase("decode_ms");
  EXPECT_USER_ERROR((void)comparison_from_json(without, "comparison.json"), "decode_ms");
}

TEST(Verify, AChangedWeightFails) {
  const testing::TemporaryFolder folder;
  const OpenModel original = open_model(kDemo / "model");
  export_checkpoint(original, some_plan(original.spec.text), folder / "pruned", {});
  const fs::path weights = folder / "pruned/model.safetensors";
  std::string bytes = testing::read_file(weights);
  size_t at = 0;
  {
    const SafetensorsFile file = SafetensorsFile::open(weights);
    const TensorView& view = file.at("language_model.model.layers.4.mlp.up_proj.weight");
    const std::string_view needle(reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size());
    at = bytes.find(needle);
  }
  ASSERT_NE(at, std::string::npos);
  for (size_t i = 0; i < 2048; i += 2) bytes[at + i + 1] ^= char(0x80);  // the sign of the first 1,024 fp16 values
  testing::write_file(weights, bytes);
  VerifyOptions options;
  options.original = kDemo / "model";
  options.samples = demo_samples(2);
  const VerifyResult result = verify(open_model(folder / "pruned"), options);
  EXPECT_FALSE(result.passed);
  EXPECT_FALSE(check(result, "dense_logits").passed);
  EXPECT_TRUE(check(result, "skip_logits").passed);  // both engines read the same wrong weights
}

}  // namespace
}  // namespace yopo
