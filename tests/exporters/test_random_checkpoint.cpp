#include "exporters/random_checkpoint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <set>

#include "core/error.h"
#include "exporters/edit_config.h"
#include "models/tensors.h"
#include "tests/exporters/export_support.h"

namespace yopo {
namespace {

using testing::fixtures;

class Random : public ::testing::Test {
 protected:
  testing::TemporaryFolder folder;
  Json config = read_json(fixtures / "llava_hf" / "model" / "config.json");

  fs::path write_config() const {
    write_json(folder / "source.json", config);
    return folder / "source.json";
  }
  RandomCheckpoint make(const std::string& name, const RandomOptions& options = {}) const {
    return write_random_checkpoint(write_config(), folder / name, options);
  }
  /// Names beside the config that was written.
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder.path()))
      if (entry.path().filename() != "source.json") found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  }
};

struct Moments {
  double mean = 0, deviation = 0, largest = 0;
};
Moments moments(const std::vector<float>& values) {
  Moments m;
  for (const float value : values) {
    m.mean += value / double(values.size());
    m.deviation += double(value) * value / double(values.size());
    m.largest = std::max(m.largest, double(std::abs(value)));
  }
  m.deviation = std::sqrt(m.deviation - m.mean * m.mean);
  return m;
}

TEST_F(Random, OpensAndHoldsTheTableAndNothingElse) {
  const RandomCheckpoint made = make("out", {.dtype = DType::F32});
  const OpenModel model = open_model(folder / "out");
  std::set<std::string> expected, found;
  for (const TensorSlot& slot : tensor_table(model.spec)) expected.insert(slot.name);
  int64_t parameters = 0;
  for (const auto& [name, view] : model.checkpoint.tensors()) {
    found.insert(name);
    parameters += view.count();
    EXPECT_EQ(view.dtype, DType::F32);
    EXPECT_NO_THROW(check_finite(view, name, folder / "out"));
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(made.parameters, parameters);
  EXPECT_EQ(made.bytes, uint64_t(parameters) * 4);
  EXPECT_EQ(made.files, 1u);
  EXPECT_EQ(names(), std::vector<std::string>{"out"});
}

TEST_F(Random, ValuesAreThoseOfAFreshModel) {
  config["text_config"]["vocab_size"] = 5000;
  make("out", {.dtype = DType::F32});
  const Checkpoint made = Checkpoint::open(folder / "out");
  const std::string layer = "language_model.model.layers.3.", tower = "vision_tower.vision_model.";
  for (const std::string& name : {layer + "mlp.up_proj.weight", std::string("language_model.model.embed_tokens.weight"),
                                  tower + "embeddings.patch_embedding.weight"}) {
    SCOPED_TRACE(name);
    const std::vector<float> values = made.at(name).floats();
    const Moments m = moments(values);
    // Five deviations of each estimate; none of the numbers is past the last of 65,536 quantiles.
    const double n = double(values.size());
    EXPECT_LT(std::abs(m.mean), 5 * 0.02 / std::sqrt(n));
    EXPECT_LT(std::abs(m.deviation - 0.02), 5 * 0.02 / std::sqrt(2 * n));
    EXPECT_LT(m.largest, 0.02 * 4.4);
    EXPECT_GT(m.largest, 0.02 * 2.5);
  }
  for (const std::string& name : {layer + "input_layernorm.weight", std::string("language_model.model.norm.weight"),
                                  tower + "pre_layrnorm.weight", tower + "encoder.layers.1.layer_norm2.weight"})
    for (const float value : made.at(name).floats()) ASSERT_EQ(value, 1.0f) << name;
  const Moments bias = moments(made.at(tower + "encoder.layers.1.mlp.fc1.bias").floats());
  EXPECT_GT(bias.deviation, 0.001);
  EXPECT_LT(bias.largest, 0.0088);
  EXPECT_GT(moments(made.at(tower + "embeddings.class_embedding").floats()).deviation, 0.01);
}

TEST_F(Random, TensorsDifferAndDoNotRepeat) {
  make("out", {.dtype = DType::F32});
  const Checkpoint made = Checkpoint::open(folder / "out");
  std::set<std::vector<float>> heads;
  for (const auto& [name, view] : made.tensors()) {
    const std::vector<float> values = view.floats();
    if (values[0] != 1.0f) {
      EXPECT_TRUE(heads.insert({values.begin(), values.begin() + 4}).second) << name;
    }
  }
  const std::vector<float> values = made.at("language_model.model.layers.0.self_attn.q_proj.weight").floats();
  std::set<std::vector<float>> draws;
  for (size_t i = 0; i + 4 <= values.size(); i += 4) draws.insert({values.begin() + i, values.begin() + i + 4});
  EXPECT_EQ(draws.size(), values.size() / 4);
}

// An embedding larger than a buffer, so that pieces, threads and shards all cut it.
TEST_F(Random, BytesDependOnTheSeedAlone) {
  config["text_config"]["vocab_size"] = 70'001;  // x 64 x 4 bytes: 17.9 MB of a buffer's 16.8
  make("one", {.seed = 7, .dtype = DType::F32, .threads = 1});
  const auto expected = testing::contents(folder / "one");
  for (const int threads : {2, 3, 16}) {
    const std::string name = std::to_string(threads);
    make(name, {.seed = 7, .dtype = DType::F32, .threads = threads});
    EXPECT_TRUE(testing::contents(folder / name) == expected) << threads << " threads";
  }
  make("other", {.seed = 8, .dtype = DType::F32, .threads = 1});
  const Checkpoint one = Checkpoint::open(folder / "one"), other = Checkpoint::open(folder / "other");
  for (const auto& [name, view] : one.tensors())
    if (view.floats()[0] != 1.0f) {
      EXPECT_NE(view.floats(), other.at(name).floats()) << name;
    }
}

TEST_F(Random, ShardsHoldTheSameTensors) {
  const RandomCheckpoint whole = make("whole", {.dtype = DType::F32});
  const RandomCheckpoint cut = make("cut", {.dtype = DType::F32, .shard_size = 100'000});
  EXPECT_GT(cut.files, 3u);
  EXPECT_EQ(cut.bytes, whole.bytes);
  const Checkpoint one = Checkpoint::open(folder / "whole"), several = Checkpoint::open(folder / "cut");
  EXPECT_EQ(several.shards().size(), cut.files);
  const Json index = read_json(folder / "cut" / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], cut.bytes);
  EXPECT_EQ(index["weight_map"].size(), one.tensors().size());
  for (const Checkpoint::Shard& shard : several.shards()) {
    uint64_t bytes = 0;
    for (const std::string& name : shard.names) bytes += several.at(name).bytes.size();
    EXPECT_TRUE(bytes <= 100'000 || shard.names.size() == 1) << shard.file;
  }
  EXPECT_EQ(several.tensors().size(), one.tensors().size());
  for (const auto& [name, view] : one.tensors()) EXPECT_EQ(several.at(name).floats(), view.floats()) << name;
  EXPECT_EQ(make("single", {.dtype = DType::F32, .shard_size = 0}).files, 1u);
}

TEST_F(Random, ACutModelIsTheBeginningOfTheWhole) {
  make("whole");
  const RandomCheckpoint made = make("cut", {.layers = 2});
  const OpenModel whole = open_model(folder / "whole"), cut = open_model(folder / "cut");
  EXPECT_EQ(cut.spec.text.num_hidden_layers, 2);
  EXPECT_EQ(cut.checkpoint.config()["text_config"]["num_hidden_layers"], 2);
  EXPECT_FALSE(cut.checkpoint.contains("language_model.model.layers.2.mlp.up_proj.weight"));
  int64_t parameters = 0;
  for (const auto& [name, view] : cut.checkpoint.tensors()) {
    EXPECT_EQ(view.floats(), whole.checkpoint.at(name).floats()) << name;
    parameters += view.count();
  }
  EXPECT_EQ(made.parameters, parameters);
}

TEST_F(Random, TypesRoundTheSameNumbers) {
  config["torch_dtype"] = "bfloat16";
  config["text_config"]["torch_dtype"] = "bfloat16";
  make("fp32", {.dtype = DType::F32});
  make("fp16", {.dtype = DType::F16});
  make("default");
  const Checkpoint exact = Checkpoint::open(folder / "fp32");
  for (const auto& [name, type, label] :
       {std::tuple{"fp16", DType::F16, "float16"}, std::tuple{"default", DType::BF16, "bfloat16"}}) {
    SCOPED_TRACE(name);
    const Checkpoint made = Checkpoint::open(folder / name);
    EXPECT_EQ(made.config()["torch_dtype"], label);
    EXPECT_EQ(made.config()["text_config"]["torch_dtype"], label);
    for (const auto& [tensor, view] : exact.tensors()) {
      ASSERT_EQ(made.at(tensor).dtype, type) << tensor;
      std::vector<std::byte> rounded(view.bytes.size() / 2);
      from_float(view.data<float>(), size_t(view.count()), type, rounded.data());
      EXPECT_TRUE(std::equal(rounded.begin(), rounded.end(), made.at(tensor).bytes.begin())) << tensor;
    }
  }
  config.erase("torch_dtype");
  config["text_config"].erase("torch_dtype");
  make("unsaid");
  EXPECT_EQ(Checkpoint::open(folder / "unsaid").config()["torch_dtype"], "bfloat16");
}

TEST_F(Random, ATiedHeadIsNotWrittenTwice) {
  const int64_t untied = make("untied").parameters;
  config["text_config"]["tie_word_embeddings"] = true;
  const int64_t tied = make("tied").parameters;
  const OpenModel model = open_model(folder / "tied");
  EXPECT_FALSE(model.checkpoint.contains("language_model.lm_head.weight"));
  EXPECT_EQ(untied - tied, model.spec.text.vocab_size * model.spec.text.hidden_size);
}

TEST_F(Random, TheOriginalLayoutHoldsItsTower) {
  config = read_json(fixtures / "llava_orig" / "model" / "config.json");
  config["mm_hidden_size"] = 1024;  // the tower that a config alone stands for
  config["mm_vision_tower"] = "openai/clip-vit-large-patch14-336";
  config["mm_vision_select_layer"] = -24;  // of it, one layer
  make("out", {.dtype = DType::BF16, .layers = 1});
  const OpenModel model = open_model(folder / "out");
  EXPECT_EQ(model.spec.layout, "llava-original");
  EXPECT_TRUE(model.spec.vision_folder.empty());
  EXPECT_EQ(model.checkpoint.config()["num_hidden_layers"], 1);
}

TEST_F(Random, AFolderStandsForItsConfig) {
  fs::create_directories(folder / "model");
  write_json(folder / "model" / "config.json", config);
  write_random_checkpoint(folder / "model", folder / "out", {});
  make("same");
  EXPECT_TRUE(testing::contents(folder / "out") == testing::contents(folder / "same"));
}

TEST_F(Random, RefusesWhatItCannotMake) {
  EXPECT_USER_ERROR(make("out", {.layers = 6}), "has 5 decoder layers");
  EXPECT_USER_ERROR(make("out", {.layers = -1}), "found -1");
  EXPECT_USER_ERROR(make("out", {.dtype = DType::I32}), "expected fp32, fp16 or bf16");
  EXPECT_USER_ERROR(write_random_checkpoint(folder / "absent.json", folder / "out", {}), "absent.json");
  const Json good = config;
  config["yopo"] = Json::object();
  EXPECT_USER_ERROR(make("out"), "'yopo'");
  config = good;
  config["quantization_config"] = {{"bits", 4}};
  EXPECT_USER_ERROR(make("out"), "quantised");
  config = good;
  config["torch_dtype"] = "bfloat61";
  EXPECT_USER_ERROR(make("out"), "did you mean 'bfloat16'");
  config = good;
  config["text_config"]["hidden_size"] = -64;
  EXPECT_USER_ERROR(make("out"), "hidden_size");
  EXPECT_TRUE(names().empty());
}

TEST_F(Random, AnOutputThatIsThereStays) {
  testing::write_file(folder / "out" / "thesis.tex", "years of work");
  EXPECT_USER_ERROR(make("out"), "remove it or choose another name");
  EXPECT_EQ(testing::read_file(folder / "out" / "thesis.tex"), "years of work");
  testing::write_file(folder / "file", "x");
  EXPECT_USER_ERROR(make("file"), "no folder");
  EXPECT_EQ(testing::read_file(folder / "file"), "x");
  fs::create_directories(folder / "empty");
  make("empty");
  EXPECT_NO_THROW(open_model(folder / "empty"));
  EXPECT_EQ(names(), (std::vector<std::string>{"empty", "file", "out"}));
}

TEST_F(Random, ADiskTooSmallIsKnownBeforeTheWork) {
  Json& text = config["text_config"];
  text["hidden_size"] = 1 << 20;
  text["intermediate_size"] = 1 << 20;
  text["num_hidden_layers"] = 4000;
  text["head_dim"] = 16;
  EXPECT_USER_ERROR(make("out"), "are free on its disk");
  EXPECT_TRUE(names().empty());
}

TEST_F(Random, AFullDiskLeavesNothing) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const fs::path source = write_config();
  const rlimit limit{100'000, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  EXPECT_USER_ERROR(write_random_checkpoint(source, folder / "out", {}), "File too large");
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(names().empty());
}

TEST(EditConfig, CutsTheDecoderWhereverItStands) {
  for (const auto& [name, part] : {std::pair{"qwen2_vl", ""}, {"llava", "text_config"}, {"internvl2", "llm_config"}}) {
    SCOPED_TRACE(part);
    Json config = {{"num_hidden_layers", 3}, {"vision_config", {{"num_hidden_layers", 24}}}};
    const Json decoder = {{"num_hidden_layers", 8},
                          {"max_window_layers", 8},
                          {"layer_types", Json::array({"a", "b", "c", "d", "e", "f", "g", "h"})}};
    if (*part != 0)
      config[part] = decoder;
    else
      config.update(decoder);
    cut_layers(config, family_named(name), 2);
    const Json& cut = *part != 0 ? config[part] : config;
    EXPECT_EQ(cut["num_hidden_layers"], 2);
    EXPECT_EQ(cut["max_window_layers"], 2);
    EXPECT_EQ(cut["layer_types"], Json::array({"a", "b"}));
    EXPECT_EQ(config["vision_config"]["num_hidden_layers"], 24);
    EXPECT_EQ(config["num_hidden_layers"], *part != 0 ? 3 : 2);
  }
}

TEST(EditConfig, WritesTheTypeWhereItStood) {
  Json config = {{"dtype", "float16"}, {"llm_config", {{"torch_dtype", "float16"}}}, {"vision_config", {{"depth", 2}}}};
  EXPECT_EQ(stored_type(config, "config.json"), DType::F16);
  set_stored_type(config, family_named("internvl2"), DType::BF16);
  EXPECT_EQ(
      config,
      (Json{{"dtype", "bfloat16"}, {"llm_config", {{"torch_dtype", "bfloat16"}}}, {"vision_config", {{"depth", 2}}}}));
  Json none = Json::object();
  EXPECT_EQ(stored_type(none, "config.json"), DType::BF16);
  set_stored_type(none, family_named("llava"), DType::F32);
  EXPECT_EQ(none, (Json{{"torch_dtype", "float32"}}));
  EXPECT_USER_ERROR(stored_type(Json{{"torch_dtype", "float64"}}, "config.json"), "config.json: torch_dtype");
}

}  // namespace
}  // namespace yopo
