// Every key that a reader says it reads changes what is read, or is refused; every other key changes nothing.
#include "models/checkpoint_keys.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "core/known_keys.h"
#include "core/progress.h"
#include "models/families/image_rules.h"
#include "models/family.h"
#include "tests/support/spec_text.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::text_of;

const fs::path kFixtures = fs::path(YOPO_TEST_DATA) / "fixtures";

/// A reader, and a file in which its object stands.
struct Place {
  std::string name;    // of the reader
  std::string folder;  // of the fixture, or of configs/models
  Json patch;          // what the file says besides
  std::string path;    // JSON pointer of the object
};

Json file_of(const Place& place) {
  Json config = read_json(kFixtures / place.folder / "config.json");
  config.merge_patch(place.patch);
  return config;
}

const std::vector<Place>& places() {
  const Json yarn = {{"rope_scaling",
                      {{"rope_type", "yarn"},
                       {"factor", 2.0},
                       {"original_max_position_embeddings", 256},
                       {"mscale", 2.0},
                       {"mscale_all_dim", 1.0}}}};
  const Json llama3 = {{"rope_scaling",
                        {{"rope_type", "llama3"},
                         {"factor", 2.0},
                         {"original_max_position_embeddings", 256},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", 4.0}}}};
  const std::string rope = "the rotary embedding (rope_parameters, rope_scaling)";
  static const std::vector<Place> all = {
      {"LLaVA's config.json", "llava_hf/model", Json::object(), ""},  // with image_token_index
      {"LLaVA's text_config", "llava_hf/model", Json::object(), "/text_config"},
      {"CLIP's vision_config", "llava_hf/model", Json::object(), "/vision_config"},
      {"the config.json of the original LLaVA", "llava_orig/model", Json::object(), ""},
      {"Qwen2-VL's config.json", "qwen2vl/model", Json::object(), ""},
      {"Qwen2-VL's vision_config", "qwen2vl/model", Json::object(), "/vision_config"},
      {"Qwen2.5-VL's config.json", "qwen2_5_vl/model", Json::object(), ""},
      {"Qwen2.5-VL's vision_config", "qwen2_5_vl/model", Json::object(), "/vision_config"},
      {"Qwen3-VL's config.json", "qwen3_vl/model", Json::object(), ""},
      {"Qwen3-VL's text_config", "qwen3_vl/model", {{"tie_word_embeddings", nullptr}}, "/text_config"},
      {"Qwen3-VL's vision_config", "qwen3_vl/model", Json::object(), "/vision_config"},
      {rope, "qwen3_vl/model", Json::object(), "/text_config/rope_scaling"},
      {"InternVL2's config.json", "internvl2_internlm2/model", Json::object(), ""},
      {"InternLM2's llm_config", "internvl2_internlm2/model", Json::object(), "/llm_config"},
      {"Phi-3's llm_config", "internvl2_phi3/model", Json::object(), "/llm_config"},
      {"Qwen2's llm_config", "internvl3_qwen2/model", Json::object(), "/llm_config"},
      {"Qwen3's llm_config", "internvl3_qwen3/model", Json::object(), "/llm_config"},
      {"InternVL3's config.json in transformers' layout", "internvl3_qwen3_hf/model", Json::object(), ""},
      {"Qwen2's text_config", "internvl3_qwen2_hf/model", Json::object(), "/text_config"},
      {"Qwen3's text_config", "internvl3_qwen3_hf/model", Json::object(), "/text_config"},
      {"the vision_config of InternVL3 in transformers' layout", "internvl3_qwen3_hf/model", Json::object(),
       "/vision_config"},
      {"LLaVA-NeXT's config.json", "anyres_llava_next/model", Json::object(), ""},
      {"LLaVA-OneVision's config.json", "anyres_llava_onevision/model", Json::object(), ""},
      {"LLaVA-NeXT's text_config with LLaMA or Mistral",
       "anyres_llava_next/model",
       {{"text_config", {{"model_type", "mistral"}, {"sliding_window", 8192}}}},
       "/text_config"},
      {"Qwen2's text_config in LLaVA-NeXT and LLaVA-OneVision", "anyres_llava_onevision/model", Json::object(),
       "/text_config"},
      {"SigLIP's vision_config", "anyres_llava_onevision/model", Json::object(), "/vision_config"},
      {"InternViT's vision_config", "internvl2_internlm2/model", Json::object(), "/vision_config"},
      {rope, "llava_orig/model", yarn, "/rope_scaling"},
      {rope, "llava_orig/model", llama3, "/rope_scaling"},
      {rope, "internvl2_phi3/model", Json::object(), "/llm_config/rope_scaling"},
      {rope, "qwen2vl/model", Json::object(), "/rope_scaling"},
  };
  return all;
}

const KeyReader& reader_named(const std::string& name) {
  static const std::vector<const KeyReader*> all = checkpoint_key_readers();
  for (const KeyReader* reader : all)
    if (reader->name == name) return *reader;
  throw InternalError("no reader " + name);
}

/// What becomes of the config with that value: the spec as text, or the error.
std::string outcome(Json config, const std::string& pointer, const std::string& key, const Json& value) {
  config[Json::json_pointer(pointer)][key] = value;
  try {
    return text_of(spec_from_config(config, "config.json"));
  } catch (const UserError& error) {
    return std::string("refused: ") + error.what();
  }
}

/// Other values than the one there, of all kinds.
std::vector<Json> others_than(const Json& value) {
  std::vector<Json> all = {true,
                           false,
                           0,
                           1,
                           2,
                           3,
                           7,
                           64,
                           100000,
                           0.5,
                           1.5,
                           -1,
                           "x",
                           "gelu",
                           "quick_gelu",
                           "pad",
                           "rms_norm",
                           "layer_norm",
                           "dynamic",
                           "linear",
                           "default",
                           "full",
                           Json::array(),
                           {1, 2},
                           {"a"},
                           Json::object(),
                           {{"a", 1}}};
  if (value.is_number()) {
    all.push_back(value.get<double>() * 2);
    if (value.is_number_integer()) all.push_back(value.get<int64_t>() * 2);
  }
  std::erase(all, value);
  return all;
}

class Quiet {
 public:
  Quiet() { set_progress_sink(ProgressSink{}); }
  ~Quiet() { set_progress_sink(std::nullopt); }
};

/// Read by those who have the checkpoint before them, not from config.json alone: special tokens (read_special_ids) and
/// the image rules, our own object, the refusal of quantised weights.
const std::set<std::string> kReadLater = {"bos_token_id",        "eos_token_id",    "pad_token_id",
                                          "image_aspect_ratio",  "mm_vision_tower", "yopo",
                                          "quantization_config", "image_seq_length"};
/// Read beside a scaled rope: the object of such a model stands for all of them.
const std::set<std::string> kOfScaledRope = {"original_max_position_embeddings"};

TEST(CheckpointKeys, ThatAreReadChangeWhatIsRead) {
  const Quiet quiet;
  // Keys of the rope that one of its kinds reads are idle in the others: each must matter in one place.
  std::set<std::string> idle_rope, live_rope;
  for (const Place& place : places()) {
    const KeyReader& reader = reader_named(place.name);
    const bool rope = place.path.ends_with("rope_scaling");
    const Json config = file_of(place), object = config.at(Json::json_pointer(place.path));
    const std::string plain = text_of(spec_from_config(config, "config.json"));
    for (const KnownKey& known : reader.keys) {
      if (known.use != KeyUse::Read || kReadLater.contains(known.key)) continue;
      if (kOfScaledRope.contains(known.key) && !rope && place.name != "Phi-3's llm_config") continue;
      const Json now = object.contains(known.key) ? object.at(known.key) : Json();
      bool changes = false;
      for (const Json& value : others_than(now)) changes |= outcome(config, place.path, known.key, value) != plain;
      if (rope)
        (changes ? live_rope : idle_rope).insert(known.key);
      else
        EXPECT_TRUE(changes) << place.name << ": " << known.key << " is said to be read";
    }
  }
  for (const std::string& key : idle_rope) EXPECT_TRUE(live_rope.contains(key)) << "no kind of rope reads " << key;
  EXPECT_GE(live_rope.size(), 15u);
}

TEST(CheckpointKeys, ThatAreIdleChangeNothing) {
  const Quiet quiet;
  for (const Place& place : places()) {
    const KeyReader& reader = reader_named(place.name);
    const Json config = file_of(place);
    const std::string plain = text_of(spec_from_config(config, "config.json"));
    for (const KnownKey& known : reader.keys) {
      if (known.use == KeyUse::Read) continue;
      for (const Json& value : others_than(Json())) {
        const std::string found = outcome(config, place.path, known.key, value);
        if (known.use == KeyUse::Refused && found != plain)
          EXPECT_NE(found.find(known.key + ": expected "), std::string::npos) << found;
        else if (found.find("should be ") == std::string::npos)  // a value of the wrong type may be refused
          EXPECT_EQ(found, plain) << place.name << ": " << known.key << " = " << value;
      }
    }
    EXPECT_EQ(outcome(config, place.path, "a_key_of_tomorrow", 3), plain) << place.name;
  }
}

TEST(CheckpointKeys, OfImageProcessorsChangeTheRules) {
  const Quiet quiet;
  struct Processor {
    std::string family, reader;
    Json rules;
    VisionSpec vision;
  };
  VisionSpec clip, qwen;
  clip.image_size = 28, clip.patch_size = 7;
  qwen.patch_size = 14, qwen.merge_size = qwen.temporal_patch_size = 2;
  for (const auto& [family, name, rules, vision] :
       {Processor{
            "llava", "CLIP's and LLaVA's image processor", {{"image_processor_type", "LlavaImageProcessor"}}, clip},
        Processor{"internvl3",
                  "InternVL3's image processor in transformers' layout",
                  {{"size", {{"height", 28}, {"width", 28}}}},
                  clip},
        Processor{"llava_next",
                  "LLaVA-NeXT's and LLaVA-OneVision's image processor",
                  {{"size", {{"shortest_edge", 28}}},
                   {"crop_size", {{"height", 28}, {"width", 28}}},
                   {"image_grid_pinpoints", {{28, 56}, {56, 28}}}},
                  clip},
        Processor{"qwen2_vl", "Qwen2-VL's image processor", Json::object(), qwen}}) {
    const auto outcome_of = [&, &family = family, &rules = rules, &vision = vision](const std::string& key,
                                                                                    const Json& value) {
      const testing::TemporaryFolder folder;
      Json changed = rules;
      if (!key.empty()) changed[key] = value;
      testing::write_file(folder / "preprocessor_config.json", changed.dump());
      try {
        const ImageRules found = find_image_rules({folder.path()}, "");
        ImageSpec spec = family_named(family).read_images(found.values, "preprocessor_config.json", vision);
        spec.backend = found.backend;
        return text_of(spec);
      } catch (const UserError& error) {
        return std::string("refused: ") + error.what();
      }
    };
    const std::string plain = outcome_of("", Json());
    for (const KnownKey& known : reader_named(name).keys) {
      bool changes = false;
      for (const Json& value : others_than(Json())) changes |= outcome_of(known.key, value) != plain;
      for (const char* type : {"CLIPImageProcessorFast", "torchvision"})
        changes |= outcome_of(known.key, type) != plain;
      const bool expected = known.use == KeyUse::Read || known.use == KeyUse::Refused;
      EXPECT_EQ(changes, expected) << name << ": " << known.key;
    }
  }
}

TEST(CheckpointKeys, StandInTheDocumentation) {
  const std::string text = testing::read_file(fs::path(YOPO_SOURCE_DIR) / "docs" / "formats.md");
  EXPECT_TRUE(with_checkpoint_keys(text, "formats.md") == text)
      << "docs/formats.md does not show the keys as they are: run `yopo options --write docs/formats.md`";
  EXPECT_USER_ERROR((void)with_checkpoint_keys("no such lines\n", "some.md"), "some.md: expected the lines");
}

}  // namespace
}  // namespace yopo
