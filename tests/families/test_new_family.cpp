// A family that the program does not know, added by this file and one registration, through all stages: its random
// checkpoint is opened, calibrated, planned, exported, verified and evaluated. Its tower differs from those of the
// known families, so the forwards are held against each other on combinations of fields that no known family has.
#include <gtest/gtest.h>

#include <algorithm>

#include "calibration/calibrate.h"
#include "compress/make_plan.h"
#include "exporters/export.h"
#include "exporters/random_checkpoint.h"
#include "models/families/parts.h"
#include "models/family.h"
#include "pipeline/stages.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

// The family

const Family& small_vlm();

/// config.json: {"architectures": ["SmallVlm"], "model_type": "small_vlm", "language": LLaMA's sizes, "tower": ...}.
ModelSpec read_config(const Json& config, const std::string& where) {
  ModelSpec spec;
  spec.layout = "small-vlm";
  spec.text = read_decoder(get_object(config, "language", where), where + ": language", DecoderSpec{});
  const Json& tower = get_object(config, "tower", where);
  VisionSpec& vision = spec.vision;
  vision = read_square_vision(tower, where + ": tower", VisionSpec{});
  vision.hidden_act = Activation::Silu;
  vision.class_token = get_bool_or(tower, "class_token", where, false);
  vision.position_table = get_bool_or(tower, "position_table", where, false);
  vision.rotary = get_bool_or(tower, "rotary", where, false);
  vision.gated_mlp = get_bool_or(tower, "gated_mlp", where, false);
  vision.norm = get_bool_or(tower, "rms_norm", where, false) ? NormKind::Rms : NormKind::Layer;
  vision.pre_norm = false;
  vision.patch_bias = true;
  vision.merge_size = 3;
  vision.taps = {{vision.num_hidden_layers}};
  check_vision(vision, where + ": tower");
  spec.projector.norm = vision.norm;
  spec.projector.norm_merged = vision.class_token;
  spec.projector.inner_size = spec.text.hidden_size;
  spec.image_token_id = read_image_token(config, "image_token_id", where, spec.text.vocab_size, 0);
  return spec;
}

void locate(const Checkpoint& checkpoint, ModelSpec& spec) {
  spec.dtype = checkpoint.at("language.embed_tokens.weight").dtype;
  const ImageRules rules = find_image_rules({checkpoint.folder()}, "the rules of small pictures");
  spec.image = small_vlm().read_images(rules.values, rules.where, spec.vision);
  read_special_ids(checkpoint, spec);
}

ImageSpec read_images(const Json& rules, const std::string& where, const VisionSpec& vision) {
  ImageSpec image;
  image.patch_size = vision.patch_size;
  image.resize = image.crop_height = image.crop_width = vision.image_size;
  image.std = {1, 1, 1};
  if (!rules.is_null()) read_image_steps(rules, where, image);
  return image;
}

PromptTemplate choose_template(const fs::path&, const ModelSpec&) { return small_vlm().templates.front(); }

std::vector<TensorName> tensor_names() {
  std::vector<TensorName> names = llama_names();
  const std::vector<TensorName> others = {{Role::ClassEmbed, "first"},
                                          {Role::PatchEmbed, "patch.weight"},
                                          {Role::PatchBias, "patch.bias"},
                                          {Role::PositionEmbed, "places.weight"},
                                          {Role::Norm1, "blocks.{}.n1.weight"},
                                          {Role::Norm1Bias, "blocks.{}.n1.bias"},
                                          {Role::VisionQ, "blocks.{}.qkv.weight", Fused::Blocks},
                                          {Role::VisionK, "blocks.{}.qkv.weight", Fused::Blocks},
                                          {Role::VisionV, "blocks.{}.qkv.weight", Fused::Blocks},
                                          {Role::VisionQBias, "blocks.{}.qkv.bias", Fused::Blocks},
                                          {Role::VisionKBias, "blocks.{}.qkv.bias", Fused::Blocks},
                                          {Role::VisionVBias, "blocks.{}.qkv.bias", Fused::Blocks},
                                          {Role::VisionO, "blocks.{}.o.weight"},
                                          {Role::VisionOBias, "blocks.{}.o.bias"},
                                          {Role::Norm2, "blocks.{}.n2.weight"},
                                          {Role::Norm2Bias, "blocks.{}.n2.bias"},
                                          {Role::FcGate, "blocks.{}.gate_up.weight", Fused::Blocks},
                                          {Role::Fc1, "blocks.{}.gate_up.weight", Fused::Blocks},
                                          {Role::FcGateBias, "blocks.{}.gate_up.bias", Fused::Blocks},
                                          {Role::Fc1Bias, "blocks.{}.gate_up.bias", Fused::Blocks},
                                          {Role::Fc2, "blocks.{}.down.weight"},
                                          {Role::Fc2Bias, "blocks.{}.down.bias"},
                                          {Role::ProjectNorm, "norm.weight"},
                                          {Role::ProjectNormBias, "norm.bias"},
                                          {Role::Project1, "one.weight"},
                                          {Role::Project1Bias, "one.bias"},
                                          {Role::Project2, "two.weight"},
                                          {Role::Project2Bias, "two.bias"}};
  names.insert(names.end(), others.begin(), others.end());
  return names;
}

const Family& small_vlm() {
  static const Family family = {
      .name = "small_vlm",
      .architectures = {"SmallVlm"},
      .model_types = {"small_vlm"},
      .text_key = "language",
      .vision_key = "tower",
      .layouts = {{"small-vlm", tensor_names(), "language.", "", "tower.", "bridge."}},
      .templates = {{"small-vlm", "", "Q: ", " A:", "<image>", "", "", " ", "</s>"}},
      .read_config = read_config,
      .locate = locate,
      .read_images = read_images,
      .choose_template = choose_template,
  };
  return family;
}

// The registration.
[[maybe_unused]] const bool registered = (register_family(small_vlm()), true);

// The proof

const fs::path kDemo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid";

struct Tower {
  const char* name;
  Json fields;
};
void PrintTo(const Tower& tower, std::ostream* out) { *out << tower.name; }

Json config_of(const Json& fields) {
  Json config = {{"architectures", {"SmallVlm"}},
                 {"model_type", "small_vlm"},
                 {"torch_dtype", "float32"},
                 {"image_token_id", 430},
                 {"eos_token_id", 2},
                 {"language",
                  {{"vocab_size", 448},
                   {"hidden_size", 48},
                   {"intermediate_size", 80},
                   {"num_hidden_layers", 4},
                   {"num_attention_heads", 6},
                   {"num_key_value_heads", 3},
                   {"max_position_embeddings", 256}}},
                 {"tower",
                  {{"hidden_size", 32},
                   {"intermediate_size", 56},
                   {"num_hidden_layers", 2},
                   {"num_attention_heads", 4},
                   {"image_size", 72},
                   {"patch_size", 8}}}};
  config["tower"].update(fields);
  return config;
}

/// A random checkpoint with what belongs to it: the demo's tokenizer and image rules.
fs::path write_model(const testing::TemporaryFolder& folder, const Json& fields) {
  write_json(folder / "source.json", config_of(fields));
  fs::path model = folder / "model";
  write_random_checkpoint(folder / "source.json", model, {.seed = 5, .dtype = DType::F32});
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json"})
    fs::copy_file(kDemo / "model" / name, model / name);
  return model;
}

DatasetOptions questions(int64_t count) {
  DatasetOptions dataset;
  dataset.questions = kDemo / "data/test/questions.jsonl";
  dataset.images = kDemo / "data/test/images";
  dataset.samples = count;
  return dataset;
}

class NewFamily : public ::testing::TestWithParam<Tower> {};

TEST_P(NewFamily, GoesThroughAllStages) {
  const testing::TemporaryFolder folder;
  const fs::path source = write_model(folder, GetParam().fields);
  const OpenModel model = open_model(source);
  EXPECT_EQ(model.spec.family, "small_vlm");
  EXPECT_EQ(model.spec.layout, "small-vlm");
  EXPECT_EQ(model.spec.image_tokens(), 9);

  CalibrationRun calibration;
  calibration.threads = 1;
  calibration.options.dataset = questions(4);
  const Statistics statistics = calibrate(model, calibration, folder / "stats.h5");
  EXPECT_EQ(statistics.samples(), 4);

  PlanOptions options;
  options.heads = HeadOptions{.keep = Keep{true, 0.5}};
  options.ffn = FfnOptions{.keep = Keep{true, 0.4}};
  options.window = WindowOptions{3, false};
  options.visual_layers = Keep{false, 3};
  const Plan plan = make_plan(statistics, options, model.spec.text, "test");
  export_checkpoint(model, plan, folder / "pruned", {});
  const OpenModel pruned = open_model(folder / "pruned");
  EXPECT_EQ(pruned.spec.family, "small_vlm");
  EXPECT_EQ(pruned.checkpoint.tensors().size(), model.checkpoint.tensors().size());

  VerifyOptions verification;
  verification.original = source;
  verification.samples = choose_samples(read_samples(questions(0)), 4, 1);
  verification.threads = 1;
  verification.max_new_tokens = 4;
  const VerifyResult verified = verify(pruned, verification);
  EXPECT_EQ(verified.checks.size(), 6u);
  for (const VerifyCheck& check : verified.checks)
    EXPECT_TRUE(check.passed) << check.name << " " << check.value << " > " << check.limit;

  EvaluateOptions asked;
  asked.dataset = questions(3);
  asked.max_new_tokens = 4;
  for (const auto& [name, one] : {std::pair{"dense", &model}, {"pruned", &pruned}}) {
    const EvaluationResult result =
        evaluate_one(*one, choose_plan(*one, false, {}), asked, name, {}, {.threads = 1}, folder / "answers");
    EXPECT_EQ(result.count, 3) << name;
    EXPECT_EQ(result.pruned, one == &pruned) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Towers, NewFamily,
    ::testing::Values(Tower{"TableWithoutClassToken", {{"position_table", true}, {"gated_mlp", true}}},
                      Tower{"ClassTokenThatTurnsNot", {{"class_token", true}, {"rotary", true}, {"rms_norm", true}}},
                      Tower{"Everything",
                            {{"class_token", true}, {"position_table", true}, {"rotary", true}, {"gated_mlp", true}}},
                      Tower{"NoPositions", Json::object()}),
    [](const auto& info) { return info.param.name; });

// Each field brings its own tensors, and no other one does.
TEST(NewFamilySpec, EveryFieldIsDeclared) {
  const auto stored = [](const Json& fields) {
    std::vector<std::string> names;
    for (const StoredTensor& tensor : stored_tensors(spec_from_config(config_of(fields), "config.json")))
      names.push_back(tensor.name);
    return names;
  };
  const auto has_name = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const std::vector<std::string> plain = stored(Json::object());
  EXPECT_FALSE(has_name(plain, "tower.first"));
  EXPECT_FALSE(has_name(plain, "tower.places.weight"));
  EXPECT_TRUE(has_name(plain, "bridge.norm.bias"));
  EXPECT_TRUE(has_name(stored({{"class_token", true}}), "tower.first"));
  EXPECT_TRUE(has_name(stored({{"position_table", true}}), "tower.places.weight"));
  EXPECT_FALSE(has_name(stored({{"rms_norm", true}}), "tower.blocks.0.n1.bias"));
  const ModelSpec gated = spec_from_config(config_of({{"gated_mlp", true}}), "config.json");
  const std::vector<TensorSlot> table = tensor_table(gated);
  const TensorSlot& up = find_slot(table, Role::Fc1, 1);
  EXPECT_EQ(up.name, "tower.blocks.1.gate_up.weight");
  EXPECT_EQ(up.part.first, 56);
  EXPECT_EQ(up.stored, (std::vector<int64_t>{112, 32}));
}

TEST(NewFamilySpec, IsAmongTheKnown) {
  Json config = config_of(Json::object());
  config["architectures"][0] = "SmallVlms";
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"),
                    "LlavaOnevisionForConditionalGeneration, SmallVlm); did you mean 'SmallVlm'?");
  config = config_of(Json::object());
  config["model_type"] = "llava";
  EXPECT_USER_ERROR(spec_from_config(config, "config.json"),
                    "model_type 'llava' contradicts architecture SmallVlm: expected small_vlm");
  EXPECT_THROW(register_family(small_vlm()), InternalError);
}

TEST(NewFamilySpec, WhatTheForwardsLackIsRefused) {
  ModelSpec spec = spec_from_config(config_of({{"gated_mlp", true}}), "config.json");
  EXPECT_NO_THROW(check_spec(spec));
  const auto refused = [&](const auto& change) {
    ModelSpec changed = spec;
    change(changed.vision);
    EXPECT_THROW(check_spec(changed), InternalError);
  };
  refused([](VisionSpec& vision) { vision.taps.push_back({1, 0, 2}); });
  refused([](VisionSpec& vision) { vision.taps.clear(); });
  refused([](VisionSpec& vision) { vision.taps.push_back({1, 1, 1}); });  // square pictures
  refused([](VisionSpec& vision) { vision.window = 2; });
  refused([](VisionSpec& vision) { vision.table_side = 4; });
  refused([](VisionSpec& vision) { vision.taps[0].decoder_layer = 1; });
  refused([](VisionSpec& vision) { vision.taps[0].tower_blocks = 3; });
  refused([](VisionSpec& vision) { vision.hidden_act = Activation::Gelu; });
  refused([](VisionSpec& vision) { vision.image_size = 0, vision.class_token = true; });
}

}  // namespace
}  // namespace yopo
