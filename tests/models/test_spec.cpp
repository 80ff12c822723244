#include "models/spec.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/progress.h"
#include "models/input.h"
#include "models/rope.h"
#include "models/tensors.h"
#include "tests/support/close.h"
#include "tests/support/spec_text.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path kFixtures = fs::path(YOPO_TEST_DATA) / "fixtures";

struct Layout {
  std::string folder, name;
  int64_t layers = 5, head_dim = 16, tower_layers = 2, image_tokens = 36;
};
void PrintTo(const Layout& layout, std::ostream* out) { *out << layout.folder; }

class EveryLayout : public ::testing::TestWithParam<Layout> {};

TEST_P(EveryLayout, TableNamesEveryTensorOfTheForward) {
  const OpenModel model = open_model(kFixtures / GetParam().folder);
  EXPECT_EQ(model.spec.layout, GetParam().name);
  EXPECT_EQ(model.spec.text.num_hidden_layers, GetParam().layers);
  EXPECT_EQ(model.spec.text.head_dim, GetParam().head_dim);
  EXPECT_EQ(model.spec.vision.layers_run(), GetParam().tower_layers);
  EXPECT_EQ(model.spec.image_tokens(), GetParam().image_tokens);
  std::set<std::string> named;
  for (const StoredTensor& tensor : stored_tensors(model.spec))
    EXPECT_TRUE(named.insert(tensor.name).second) << tensor.name;
  // Roles that share a tensor cover it, each row once.
  std::map<std::string, std::vector<int>> rows;
  for (const TensorSlot& slot : tensor_table(model.spec)) {
    if (slot.part.whole()) continue;
    std::vector<int>& taken = rows[slot.name];
    taken.resize(size_t(slot.stored[0]));
    for (int64_t row = 0; row < slot.shape[0]; ++row) ++taken.at(size_t(slot.part.row(row)));
  }
  for (const auto& [name, taken] : rows) EXPECT_EQ(taken, std::vector<int>(taken.size(), 1)) << name;
  // What is left over is the last vision block and the norm behind it, which the feature layer -2 never reaches.
  for (const auto& [name, view] : model.checkpoint.tensors()) {
    const bool unreached =
        name.find("encoder.layers.2.") != std::string::npos || name.find("post_layernorm") != std::string::npos;
    EXPECT_TRUE(named.contains(name) || unreached) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EveryLayout,
                         ::testing::Values(Layout{"llava_hf/model", "llava-hf"},
                                           Layout{"llava_hf/model_newkeys", "llava-hf-4.52"},
                                           Layout{"llava_orig/model", "llava-original"},
                                           Layout{"qwen2vl/model", "qwen2-vl", 5, 16, 2, 0},
                                           Layout{"qwen2_5_vl/model", "qwen2.5-vl", 4, 16, 4, 0},
                                           Layout{"qwen3_vl/model", "qwen3-vl", 5, 24, 5, 0},
                                           Layout{"internvl2_internlm2/model", "internvl2-InternLM2ForCausalLM"},
                                           Layout{"internvl2_internlm2_6b/model", "internvl2-InternLM2ForCausalLM"},
                                           Layout{"internvl2_phi3/model", "internvl2-Phi3ForCausalLM"}),
                         [](const auto& info) { return "layout" + std::to_string(info.index); });

// What save_pretrained of transformers 5.24 writes for a model that it did not load.
TEST(Spec, ReadsWhatTransformers5Writes) {
  for (const char* family : {"qwen2_5_vl", "qwen3_vl"}) {
    const fs::path folder = kFixtures / family / "model";
    const ModelSpec old = spec_from_config(read_json(folder / "config.json"), "config.json");
    const ModelSpec spec = spec_from_config(read_json(folder / "config.transformers5.json"), "config.json");
    EXPECT_EQ(testing::text_of(spec), testing::text_of(old));
    std::map<std::string, std::vector<int64_t>> named, written;
    for (const StoredTensor& tensor : stored_tensors(spec)) named[tensor.name] = tensor.shape;
    const Json tensors = read_json(folder / "tensors.transformers5.json");
    for (const auto& [name, shape] : tensors.items()) written[name] = shape.get<std::vector<int64_t>>();
    EXPECT_EQ(named, written) << family;
  }
}

Json config_of(const std::string& folder) { return read_json(kFixtures / folder / "config.json"); }

TEST(Spec, SaysWhatIsWrongWithAConfig) {
  Json config = config_of("llava_hf/model");
  config["architectures"][0] = "LlavaForConditionalGenerations";
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "did you mean 'LlavaForConditionalGeneration'");
  config["architectures"][0] = "Qwen3VLMoeForConditionalGeneration";
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "mixtures of experts are not supported");
  config = config_of("llava_hf/model");
  config["model_type"] = "qwen2_vl";
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"),
                    "config.json: model_type 'qwen2_vl' contradicts architecture LlavaForConditionalGeneration: "
                    "expected llava or llava_llama");
  config.erase("model_type");
  EXPECT_EQ(spec_from_config(config, "config.json").family, "llava");
  config = config_of("llava_hf/model");
  config["text_config"]["num_key_value_heads"] = 3;
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "num_key_value_heads");
  config = config_of("llava_hf/model");
  config["text_config"]["num_hidden_layers"] = -1;
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "num_hidden_layers");
  config = config_of("llava_hf/model");
  config["text_config"]["hidden_size"] = "64";
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "hidden_size");
  config = config_of("llava_hf/model");
  config["vision_feature_layer"] = -9;
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "feature layer -9");
  config = config_of("llava_hf/model");
  config["image_token_id"] = 5;
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "image_token_index and image_token_id say different");
  config = config_of("llava_hf/model");
  config["text_config"]["rope_scaling"] = {{"type", "ntk"}, {"factor", 2}};
  EXPECT_USER_ERROR(
      spec_from_config(config, "config.json"),
      "config.json: text_config: rope_scaling: rope_type 'ntk' is not supported; expected one of default, "
      "linear, dynamic, yarn, llama3, longrope");
  config["text_config"]["rope_scaling"] = {{"type", "linear"}};
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "rope_scaling: 'factor' is missing");
  config["text_config"]["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  config["text_config"]["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 3}};
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "rope_parameters and rope_scaling say different things");
  config["text_config"].erase("rope_scaling");
  config["text_config"]["rope_parameters"]["rope_theta"] = 20000.0;
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "rope_theta 20000 contradicts the rope_theta 10000");
  config = config_of("llava_hf/model");
  config["vision_config"]["image_size"] = 37;
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "37");
  config = config_of("llava_orig/model");
  config["mm_projector_type"] = "linear";
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "mlp2x_gelu");
}

TEST(Spec, TellsOnceOfAnIdleKeyThatContradictsTheTower) {
  std::vector<std::string> told;
  set_progress_sink(
      ProgressSink{.note = {}, .warning = [&](const std::string& line) { told.push_back(line); }, .progress = {}});
  Json config = config_of("llava_hf/model");
  config["image_seq_length"] = 37;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(spec_from_config(config, "idle.json").image_tokens(), 36);
  config["image_seq_length"] = 36;
  EXPECT_EQ(spec_from_config(config, "agrees.json").image_tokens(), 36);
  set_progress_sink(std::nullopt);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0], "idle.json: image_seq_length 37 contradicts the tower's 36 visual tokens, which are taken");
}

TEST(Spec, NamesTheMethodOfAQuantisedCheckpoint) {
  const auto refused = [](const std::string& folder, const Json& patch, const std::string& method) {
    Json config = config_of(folder);
    config.merge_patch(patch);
    EXPECT_USER_ERROR(spec_from_config(config, "config.json"), "config.json: the weights are quantised (" + method +
                                                                   "): quantised checkpoints are not supported");
  };
  for (const char* method : {"bitsandbytes", "gptq", "awq", "fp8", "compressed-tensors", "hqq"})
    for (const char* folder : {"llava_hf/model", "llava_orig/model", "qwen2vl/model", "internvl2_phi3/model"})
      refused(folder, {{"quantization_config", {{"quant_method", method}, {"bits", 4}}}}, method);
  refused("llava_hf/model", {{"quantization_config", {{"load_in_4bit", true}}}}, "bitsandbytes");
  refused("llava_hf/model", {{"quantization_config", {{"bits", 4}}}}, "a method it does not name");
  refused("llava_hf/model", {{"text_config", {{"quantization_config", {{"quant_method", "awq"}}}}}}, "awq");
  refused("llava_hf/model", {{"compression_config", {{"format", "pack"}}}}, "compressed-tensors");
  Json plain = config_of("llava_hf/model");
  plain["quantization_config"] = nullptr;
  EXPECT_EQ(spec_from_config(plain, "config.json").family, "llava");
}

TEST(Spec, SaysWhatIsWrongWithAConfigOfTheOtherFamilies) {
  const auto refused = [](const std::string& folder, const Json& patch, const std::string& part) {
    Json config = config_of(folder);
    config.merge_patch(patch);
    EXPECT_USER_ERROR(spec_from_config(config, "config.json"), part);
  };
  const std::string qwen = "qwen2vl/model", intern = "internvl2_internlm2/model", phi = "internvl2_phi3/model";
  refused(qwen, {{"rope_scaling", {{"mrope_section", {2, 3, 4}}}}}, "the sections sum to 9, half of head_dim is 8");
  refused(qwen, {{"rope_scaling", {{"mrope_section", {2, 6}}}}}, "mrope_section: expected 3 numbers");
  refused(qwen, {{"rope_scaling", nullptr}}, "rope_scaling");
  refused(qwen, {{"rope_scaling", {{"type", "yarn"}}}}, "'factor' is missing");
  refused(qwen, {{"use_sliding_window", true}}, "use_sliding_window");
  refused(qwen, {{"vision_config", {{"hidden_size", 65}}}}, "65 contradicts");
  refused(qwen, {{"vision_config", {{"in_channels", 1}}}}, "in_channels: expected 3");
  refused(qwen, {{"vision_config", {{"num_heads", 16}}}}, "no multiple of 4");
  refused(qwen, {{"image_token_id", 5000}}, "image_token_id");
  const std::string newer = "qwen2_5_vl/model", deep = "qwen3_vl/model";
  refused(newer, {{"vision_config", {{"out_hidden_size", 65}}}}, "out_hidden_size 65 contradicts");
  refused(newer, {{"vision_config", {{"hidden_act", "gelu"}}}}, "hidden_act: expected silu");
  refused(newer, {{"vision_config", {{"window_size", 7}}}}, "window_size 7: expected at least a visual token");
  refused(newer, {{"vision_config", {{"fullatt_block_indexes", {-1}}}}}, "fullatt_block_indexes");
  refused(newer, {{"rope_scaling", {{"mrope_interleaved", true}}}}, "mrope_interleaved: expected false");
  refused(deep, {{"text_config", {{"rope_scaling", {{"mrope_interleaved", false}}}}}},
          "mrope_interleaved: expected true");
  refused(deep, {{"text_config", nullptr}}, "text_config");
  refused(deep, {{"vision_config", {{"num_position_embeddings", 37}}}}, "expected a square number, found 37");
  refused(deep, {{"vision_config", {{"deepstack_visual_indexes", {1, 5}}}}},
          "expected blocks below 5 (depth), found 5");
  refused(deep, {{"vision_config", {{"deepstack_visual_indexes", {2, 1}}}}},
          "expected ascending numbers, found 1 behind 2");
  refused(intern, {{"llm_config", {{"architectures", {"InternLM3ForCausalLM"}}}}},
          "did you mean 'InternLM2ForCausalLM'");
  refused(intern, {{"llm_config", {{"bias", true}}}}, "bias");
  refused(qwen, {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}}}, "not supported with positions along three");
  refused(intern, {{"llm_config", {{"rope_scaling", {{"type", "quadratic"}}}}}}, "rope_type 'quadratic'");
  refused(intern, {{"llm_config", {{"rope_scaling", {{"factor", 0.5}}}}}}, "factor");
  refused(intern, {{"ps_version", "v1"}}, "ps_version: expected v2");
  refused(intern, {{"downsample_ratio", 0.25}}, "downsample_ratio");
  refused(intern, {{"force_image_size", 96}}, "force_image_size 96");
  refused(intern, {{"select_layer", -9}}, "select_layer -9");
  refused(intern, {{"vision_config", {{"norm_type", "batch_norm"}}}}, "norm_type");
  refused(phi, {{"llm_config", {{"sliding_window", 2047}}}}, "sliding_window 2047");
  refused(phi, {{"llm_config", {{"rope_scaling", {{"short_factor", {1.0, 2.0}}}}}}},
          "short_factor: expected 8 numbers");
  refused(phi, {{"llm_config", {{"rope_scaling", {{"long_factor", {0, 1, 1, 1, 1, 1, 1, 1}}}}}}}, "long_factor");
  refused(phi, {{"llm_config", {{"rope_scaling", {{"type", "llama3"}}}}}}, "'factor' is missing");
  refused(phi, {{"llm_config", {{"attention_bias", true}}}}, "attention_bias: expected false, found true");
}

TEST(Spec, TowerStaysInsideTheFolder) {
  const testing::TemporaryFolder folder;
  fs::create_directories(folder / "deep/model");
  fs::copy(kFixtures / "llava_orig/model", folder / "deep/model", fs::copy_options::recursive);
  fs::copy(kFixtures / "llava_orig/vision_tower", folder / "vision_tower", fs::copy_options::recursive);
  Json config = config_of("llava_orig/model");
  const fs::path file = folder / "deep/model/config.json";
  for (const char* name : {"../../vision_tower", "vision_tower"}) {
    config["mm_vision_tower"] = name;  // neither reaches two folders up
    testing::write_file(file, config.dump());
    EXPECT_THROW(open_model(folder / "deep/model"), UserError) << name;
  }
  fs::rename(folder / "vision_tower", folder / "deep/vision_tower");
  EXPECT_NO_THROW(open_model(folder / "deep/model"));
}

TEST(Tensors, MissingAndMisshapenAreNamed) {
  OpenModel model = open_model(kFixtures / "llava_hf/model");
  std::vector<TensorSlot> table = tensor_table(model.spec);
  table[3].stored[0] += 1;
  EXPECT_USER_ERROR(check_tensors(model.checkpoint, table), "k_proj");
  table = tensor_table(model.spec);
  table[3].name += "s";
  EXPECT_USER_ERROR(check_tensors(model.checkpoint, table), "k_proj.weights");
}

TEST(Input, ExpandsPlaceholdersAndFindsSpans) {
  const ModelSpec spec = open_model(kFixtures / "llava_orig/model").spec;
  const std::vector<float> pixels(size_t(2) * 3 * 84 * 84, 0.5f);
  const ModelInput input = make_input(spec, {1, -200, 7, -200, 9}, pixels, square_grids(spec, 2), "sample");
  EXPECT_EQ(input.length(), 3 + 2 * 36);
  ASSERT_EQ(input.spans.size(), 2u);
  EXPECT_EQ(input.spans[0].start, 1);
  EXPECT_EQ(input.spans[1].start, 38);
  EXPECT_EQ(input.text_tokens(), 3);
  EXPECT_EQ(input.next_position(), 75);
  const std::vector<uint8_t> mask = visual_mask(input);
  EXPECT_EQ(mask[0], 0);
  EXPECT_EQ(mask[1], 1);
  EXPECT_EQ(mask[37], 0);
  EXPECT_EQ(mask[38], 1);
  EXPECT_EQ(mask[74], 0);
  EXPECT_USER_ERROR(make_input(spec, {1, -200, 9}, pixels, square_grids(spec, 2), "sample"), "1 image placeholders");
  EXPECT_USER_ERROR(make_input(spec, {1, -200, -200, 300}, pixels, square_grids(spec, 2), "sample"), "300");
  EXPECT_USER_ERROR(make_input(spec, {1, -200, -200}, {1.0f}, square_grids(spec, 2), "sample"), "pixel_values");
}

TEST(Input, MatchesEveryCaseOfTheReferences) {
  int cases = 0;
  for (const char* family :
       {"llava_hf", "llava_orig", "qwen2vl", "internvl2_internlm2", "internvl2_internlm2_6b", "internvl2_phi3",
        "internvl3_qwen2", "internvl3_qwen2_hf", "internvl3_qwen3", "internvl3_qwen3_hf", "anyres_llava_next",
        "anyres_llava_onevision", "qwen2_5_vl", "qwen3_vl"})
    for (const auto& entry : fs::directory_iterator(kFixtures / family / "cases")) {
      const Json facts = read_json(entry.path() / "case.json");
      if (!facts.contains("spans")) continue;
      const ModelSpec spec = open_model(kFixtures / family / "model").spec;
      const ModelInput input = read_input(spec, entry.path() / "inputs.safetensors");
      ASSERT_EQ(input.spans.size(), facts["spans"].size());
      for (size_t i = 0; i < input.spans.size(); ++i) {
        const std::vector<int64_t> found{input.spans[i].start, input.spans[i].rows, input.spans[i].columns};
        EXPECT_EQ(found, facts["spans"][i].get<std::vector<int64_t>>());
      }
      EXPECT_EQ(input.length(), facts["seq_len"].get<int64_t>());
      // Positions as this project numbers them, not as the file has them.
      ModelInput numbered = input;
      number_positions(spec, input.length(), numbered);
      EXPECT_EQ(numbered.position_ids, input.position_ids) << entry.path();
      EXPECT_EQ(numbered.position_axes, input.position_axes);
      if (has(facts, "rope_delta")) {
        EXPECT_EQ(input.next_position(), input.length() + facts["rope_delta"].get<int64_t>());
      }
      ++cases;
    }
  EXPECT_EQ(cases, 3 + 3 + 4 + 1 + 2 + 4 + 2 + 4 + 2 + 5 + 5 + 5 + 4);
}

TEST(Input, RefusesVideosAndAMissingDeepstack) {
  const ModelSpec spec = open_model(kFixtures / "qwen3_vl/model").spec;
  EXPECT_USER_ERROR(make_input(spec, {1, 303, 2}, {}, {}, "sample"), "token 303 stands for a video");
  ModelInput input;
  input.spans = {{1, 1, 2}};
  input.position_ids = {0, 1, 2, 3};
  EXPECT_USER_ERROR(check_deepstack(spec, input, "sample"), "deepstack: expected [3, 2, 64]");
  input.deepstack.assign(3 * 2 * 64, 0.0f);
  EXPECT_NO_THROW(check_deepstack(spec, input, "sample"));
}

TEST(Input, RefusesSpansThatLie) {
  EXPECT_USER_ERROR(check_spans({{0, 2, 2}, {3, 1, 1}}, 10, "x"), "span 1");
  EXPECT_USER_ERROR(check_spans({{8, 2, 2}}, 10, "x"), "span 0");
  EXPECT_USER_ERROR(check_spans({{0, 0, 2}}, 10, "x"), "span 0");
  EXPECT_USER_ERROR(check_spans({{0, int64_t(1) << 40, int64_t(1) << 40}}, 10, "x"), "span 0");
  EXPECT_NO_THROW(check_spans({{0, 2, 2}, {4, 2, 3}}, 10, "x"));
}

TEST(Rope, IsTheHalfSplitRotation) {
  DecoderSpec spec;
  spec.head_dim = 8;
  const RopeTable table = rope_table(spec, std::vector<int64_t>{0, 3}, 1, 4);
  const std::vector<double> angles{3.0, 0.3, 0.03, 0.003};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(table.cos[i], 1.0f);
    EXPECT_EQ(table.sin[i], 0.0f);
    EXPECT_NEAR(table.cos[4 + i], std::cos(angles[i]), 1e-6);
    EXPECT_NEAR(table.sin[4 + i], std::sin(angles[i]), 1e-6);
  }
}

}  // namespace
}  // namespace yopo
