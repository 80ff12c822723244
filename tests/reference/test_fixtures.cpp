// The Torch forward against the reference cases: dense, every published variant and every skip plan, prefill and
// decode.
#include <algorithm>
#include <map>
#include <tuple>

#include <gtest/gtest.h>

#include "tests/reference/fixture.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

using testing::close;
using testing::fixtures;
using testing::loaded_model;

struct CaseRun {
  std::string model;  // "llava_hf/model"
  std::string test;   // "llava_hf/cases/single"
  std::string file;   // "dense", "yopo_heads", "skip_all"
};
void PrintTo(const CaseRun& run, std::ostream* out) { *out << run.file << " of " << run.test << " on " << run.model; }

using testing::case_json;

// Every run that the case files name.
std::vector<CaseRun> all_runs() {
  std::vector<CaseRun> runs;
  for (const testing::CaseOf& of : testing::reference_cases()) {
    const Json info = case_json(of.test);
    runs.push_back({of.model, of.test, "dense"});
    for (const auto& [strategy, _] : info.at("strategies").items())
      runs.push_back({of.model, of.test, "yopo_" + strategy});
    const Json skips = info.value("skip", Json::object());
    for (const auto& [plan, _] : skips.items()) runs.push_back({of.model, of.test, "skip_" + plan});
  }
  return runs;
}

std::string name_of_run(const ::testing::TestParamInfo<CaseRun>& info) {
  std::string name =
      info.param.model + "_" + info.param.test.substr(info.param.test.rfind('/') + 1) + "_" + info.param.file;
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

// A published variant's parameters (yopo_reference.Prune) as a plan and rules.
std::pair<Plan, MaskRules> variant(const DecoderSpec& spec, const Json& parameters, const SafetensorsFile& file) {
  Plan plan = dense_plan(spec);
  MaskRules rules;
  rules.freeze_visual = false;
  rules.window_isolates = false;
  if (!parameters.at("window").is_null()) set_window(plan, Window{parameters.at("window"), false});
  const Json& self_only = parameters.at("self_only");
  if (!self_only.is_null()) {
    EXPECT_TRUE(self_only == "intended" || self_only == "literal");
    rules.self_only = self_only == "intended" ? MaskRules::SelfOnly::Intended : MaskRules::SelfOnly::Literal;
  }
  if (parameters.at("has_headmask").get<bool>()) set_heads(plan, testing::mask_from(file.at("headmask")));
  rules.heads_from_layer = parameters.at("headcut_from");
  rules.zero_visual_queries = parameters.at("zero_query");
  rules.heads_before_softmax = parameters.at("head_pre");
  if (!parameters.at("layercut").is_null()) set_visual_layers(plan, parameters.at("layercut"));
  const std::string mode = parameters.at("layercut_mode");
  EXPECT_TRUE(mode == "post" || mode == "pre_qwen" || mode == "pre_text");
  rules.depth = mode == "post"       ? MaskRules::Depth::AllAfterSoftmax
                : mode == "pre_qwen" ? MaskRules::Depth::QwenLiteral
                                     : MaskRules::Depth::TextBeforeSoftmax;
  if (!parameters.at("ffn_keep").is_null()) {
    std::vector<int64_t> kept(parameters.at("ffn_keep").get<size_t>());
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = int64_t(i);
    for (LayerPlan& layer : plan.layers) layer.neurons = kept;
  }
  return {plan, rules};
}

class TorchFixture : public ::testing::TestWithParam<CaseRun> {
 protected:
  TorchFixture()
      : run(GetParam()),
        loaded(loaded_model(testing::CaseOf{run.model, run.test})),
        info(case_json(run.test)),
        inputs(SafetensorsFile::open(fixtures() / run.test / "inputs.safetensors")),
        dense(SafetensorsFile::open(fixtures() / run.test / "dense.safetensors")),
        expected(SafetensorsFile::open(fixtures() / run.test / (run.file + ".safetensors"))) {
    const DecoderSpec& spec = loaded.model.spec.text;
    plan = dense_plan(spec);
    const std::string name = run.file.substr(run.file.find('_') + 1);
    if (run.file.starts_with("skip_")) {
      plan = read_plan(fixtures() / run.test / (run.file + ".plan.json"));
      values = attention = info.at("skip").at(name).at("tolerance");
    } else {
      values = info.at("tolerance").at(name).at("values");
      attention = info.at("tolerance").at(name).at("attn");
      if (run.file != "dense") std::tie(plan, rules) = variant(spec, info.at("strategies").at(name), expected);
    }
    for (const Json& token : info.at("decode_tokens")) options.decode.push_back(token);
    options.attention = expected.contains("attn");
    options.all_logits = expected.contains("logits");
  }
  Trace trace(const ModelInput& input) const {
    return loaded.engine.trace(input, plan, options, run.file.starts_with("yopo_") ? &rules : nullptr);
  }
  void compare(const Trace& found, double values_tolerance, double logits_tolerance) const {
    EXPECT_TRUE(close(found.hidden, expected.at("hidden").floats(), values_tolerance));
    EXPECT_TRUE(
        close(found.logits, expected.at(options.all_logits ? "logits" : "logits_last").floats(), logits_tolerance));
    EXPECT_TRUE(close(found.decode_logits, expected.at("decode_logits").floats(), logits_tolerance));
    if (!run.file.starts_with("skip_")) {
      EXPECT_TRUE(close(found.decode_hidden, expected.at("decode_hidden").floats(), values_tolerance));
    }
  }

  CaseRun run;
  const testing::LoadedModel& loaded;
  Json info;
  SafetensorsFile inputs, dense, expected;
  Plan plan;
  MaskRules rules;
  TraceOptions options;
  double values = 0, attention = 0;
};

TEST_P(TorchFixture, LanguageModelFromEmbeddings) {
  const ModelInput input = testing::embedded_input(info, inputs, dense);
  const Trace found = trace(input);
  compare(found, values, values);
  if (options.attention) {
    EXPECT_TRUE(close(found.attention, expected.at("attn").floats(), attention));
    EXPECT_TRUE(close(found.decode_attention, expected.at("decode_attn").floats(), attention));
  }
}

TEST_P(TorchFixture, FromPixels) {
  const ModelInput input = testing::input_from_pixels(loaded.model.spec, info, inputs);
  const Trace found = trace(input);
  const double tolerance = testing::pixel_tolerance(info);
  compare(found, tolerance, tolerance);
  for (const auto& [name, values] :
       {std::pair{"vision_hidden", &found.vision_hidden}, {"vision_features", &found.vision_features}})
    if (dense.contains(name)) {
      EXPECT_TRUE(close(*values, dense.at(name).floats(), 1e-4)) << name;
    }
}

INSTANTIATE_TEST_SUITE_P(All, TorchFixture, ::testing::ValuesIn(all_runs()), name_of_run);

TEST(TorchFixtures, NoCaseIsLeftOut) {
  std::map<std::string, size_t> runs;  // by family, under one layout of keys
  for (const CaseRun& run : all_runs())
    if (run.model.ends_with("/model")) ++runs[run.model.substr(0, run.model.find('/'))];
  // Each case: dense, its published variants, its plans.
  const std::map<std::string, size_t> expected{{"llava_hf", 14 + 9},
                                               {"llava_orig", 9},
                                               {"qwen2vl", 19 + 8 + 9},
                                               {"internvl2_internlm2", 19 + 9 + 9 + 8},
                                               {"internvl2_internlm2_6b", 9},
                                               {"internvl2_phi3", 19 + 8},
                                               {"internvl3_qwen2", 9 + 5 + 5 + 1},
                                               {"internvl3_qwen2_hf", 3 + 3},
                                               {"internvl3_qwen3", 9 + 5 + 5 + 1},
                                               {"internvl3_qwen3_hf", 3 + 3},
                                               {"anyres_llava_next", 3 * 5 + 3 + 1},
                                               {"anyres_llava_onevision", 3 * 5 + 3 + 1},
                                               {"qwen2_5_vl", 9 + 7 + 5 + 5 + 1},
                                               {"qwen3_vl", 9 + 7 + 5 + 1}};
  EXPECT_EQ(runs, expected);
  size_t files = 0, wanted = 2;  // and dense.safetensors of the two padded batches
  for (const auto& [family, count] : expected) {
    wanted += count;
    for (const auto& test : fs::directory_iterator(fixtures() / family / "cases"))
      for (const auto& file : fs::directory_iterator(test.path()))
        files += file.path().extension() == ".safetensors" && file.path().stem() != "inputs";
  }
  EXPECT_EQ(files, wanted);
}

class TorchPaddedBatch : public ::testing::TestWithParam<std::string> {};

TEST_P(TorchPaddedBatch, LogitsOfEachSample) {
  const testing::LoadedModel& loaded = loaded_model(GetParam());
  const testing::PaddedBatch batch =
      testing::padded_batch(loaded.model.spec, GetParam().substr(0, GetParam().find('/')));
  ASSERT_NE(batch.samples[0].length(), batch.samples[1].length());
  const auto logits = loaded.engine.batch_logits(batch.samples, dense_plan(loaded.model.spec.text));
  ASSERT_EQ(logits.size(), batch.samples.size());
  for (size_t b = 0; b < logits.size(); ++b) EXPECT_TRUE(close(logits[b], batch.logits[b], 2e-3)) << "sample " << b;
}

INSTANTIATE_TEST_SUITE_P(All, TorchPaddedBatch,
                         ::testing::Values("llava_hf/model", "llava_hf/model_newkeys", "qwen2vl/model"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

class TorchHeadRatios : public ::testing::TestWithParam<std::string> {};

// The published masks: ratios of five samples, votes over a threshold, majority and single-sample masks.
TEST_P(TorchHeadRatios, RatiosVotesAndMasks) {
  const testing::LoadedModel& loaded = loaded_model(GetParam());
  const std::string family = GetParam().substr(0, GetParam().find('/'));
  const fs::path folder = fixtures() / family / "heads";
  const Json any_case = case_json(family + "/cases/" + (family == "qwen2vl" ? "square" : "single"));
  const Json info = read_json(folder / "ratios.json");
  const SafetensorsFile inputs = SafetensorsFile::open(folder / "inputs.safetensors");
  const SafetensorsFile expected = SafetensorsFile::open(folder / "ratios.safetensors");
  const int64_t samples = info.at("samples"), exempt = info.at("always_layers");
  const int64_t layers = loaded.model.spec.text.num_hidden_layers, heads = loaded.model.spec.text.num_attention_heads;
  const size_t size = size_t(layers * heads);

  for (const std::string kind : {"prefill", "decode1"}) {
    const std::vector<float> wanted = expected.at("ratio_" + kind).floats();
    const double threshold = info.at("threshold_" + kind);
    std::vector<double> ratios;
    for (int64_t s = 0; s < samples; ++s) {
      const std::string prefix = std::to_string(s) + ".";
      TraceOptions options{.decode = inputs.at(prefix + "decode_token").ints(), .hidden = false, .statistics = true};
      const Trace found = loaded.engine.trace(testing::input_from_pixels(loaded.model.spec, any_case, inputs, prefix),
                                              dense_plan(loaded.model.spec.text), options);
      const std::vector<double>& own = kind == "prefill" ? found.ratio_prefill : found.ratio_decode;
      ratios.insert(ratios.end(), own.begin(), own.end());
    }
    EXPECT_TRUE(testing::close_relative(ratios, wanted, 1e-4)) << kind;

    std::vector<int64_t> votes(size, 0), majority(size), single(size);
    for (size_t i = 0; i < size; ++i) {
      const bool always = int64_t(i) / heads < exempt;
      for (int64_t s = 0; s < samples; ++s) votes[i] += always || ratios[size_t(s) * size + i] > threshold;
      majority[i] = double(votes[i]) > double(info.at("frac")) * double(samples);
      single[i] = ratios[i] > threshold;
    }
    EXPECT_EQ(votes, expected.at("votes_" + kind).ints()) << kind;
    EXPECT_EQ(majority, expected.at("mask_majority_" + kind).ints()) << kind;
    EXPECT_EQ(single, expected.at("mask_single_" + kind).ints()) << kind;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TorchHeadRatios,
                         ::testing::Values("llava_hf/model", "llava_hf/model_newkeys", "qwen2vl/model",
                                           "internvl2_internlm2/model", "internvl2_phi3/model", "internvl3_qwen2/model",
                                           "internvl3_qwen3/model", "anyres_llava_next/model",
                                           "anyres_llava_onevision/model", "qwen2_5_vl/model", "qwen3_vl/model"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

}  // namespace
}  // namespace yopo
