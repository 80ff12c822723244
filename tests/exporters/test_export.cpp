#include "exporters/export.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include <random>

#include "core/error.h"
#include "exporters/staging.h"
#include "plans/order.h"
#include "plans/pruned_config.h"
#include "tests/exporters/export_support.h"
#include "tests/exporters/layer_reference.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

using testing::Doubles;
using testing::fixtures;

// The exported model against the original: the dense function of every layer, its function under the plan, and every
// tensor that is not permuted.
void expect_same_model(const OpenModel& before, const Plan& plan, const OpenModel& after, const Plan& reordered) {
  const DecoderSpec& spec = before.spec.text;
  constexpr size_t rows = 6;
  std::mt19937 random(9);
  Doubles x(rows * size_t(spec.hidden_size));
  for (double& value : x) value = double(random() % 2001) / 1000 - 1;
  for (int64_t layer = 0; layer < spec.num_hidden_layers; ++layer) {
    SCOPED_TRACE(layer);
    const Doubles dense = testing::layer_output(before, layer, x, rows);
    EXPECT_TRUE(testing::close_relative(testing::layer_output(after, layer, x, rows), dense, 1e-12));
    const auto neurons = [&](const Plan& p) {
      return p.layers[size_t(layer)].neurons ? &*p.layers[size_t(layer)].neurons : nullptr;
    };
    for (const bool updates : {false, true}) {
      const auto heads = [&](const Plan& p) {
        return updates ? &p.layers[size_t(layer)].updates : &p.layers[size_t(layer)].heads;
      };
      const Doubles pruned = testing::layer_output(before, layer, x, rows, heads(plan), neurons(plan));
      const Doubles prefix = testing::layer_output(after, layer, x, rows, heads(reordered), neurons(reordered));
      EXPECT_TRUE(testing::close_relative(prefix, pruned, 1e-12)) << "what the plan keeps moved to the front";
    }
  }
  std::map<std::string, bool> permuted;
  for (const TensorSlot& slot : tensor_table(before.spec))
    permuted[slot.name] = slot.rows != Axis::Fixed || slot.columns != Axis::Fixed;
  EXPECT_EQ(before.checkpoint.tensors().size(), after.checkpoint.tensors().size());
  for (const auto& [name, tensor] : before.checkpoint.tensors()) {
    const TensorView& other = after.checkpoint.at(name, tensor.shape);
    EXPECT_EQ(other.dtype, tensor.dtype) << name;
    EXPECT_TRUE(permuted[name] || std::ranges::equal(other.bytes, tensor.bytes)) << name;
  }
}

void expect_export(const fs::path& source, const Plan& plan, const ExportOptions& options = {}) {
  testing::TemporaryFolder folder;
  const OpenModel before = open_model(source);
  export_checkpoint(before, plan, folder / "pruned", options);
  const OpenModel after = open_model(folder / "pruned");
  auto found = plan_of_checkpoint(after.checkpoint, after.spec.text);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->provenance["checkpoint"], before.checkpoint.fingerprint());
  Plan expected = reorder_plan(plan, before.spec.text, orders_of(plan, before.spec.text));
  expected.provenance = found->provenance;
  EXPECT_EQ(*found, expected);
  expect_same_model(before, plan, after, *found);
  EXPECT_EQ(testing::contents(folder.path()).size(), testing::contents(folder / "pruned").size())
      << "nothing is left beside";
}

TEST(Export, EveryLayoutUnderEverySkipPlan) {
  int exported = 0;
  for (const auto& [model, test] : std::vector<std::pair<std::string, std::string>>{
           {"llava_hf/model", "llava_hf/cases/single"},
           {"llava_hf/model_newkeys", "llava_hf/cases/single"},
           {"llava_orig/model", "llava_orig/cases/single"},
           {"qwen2vl/model", "qwen2vl/cases/nonsquare"},
           {"qwen2_5_vl/model", "qwen2_5_vl/cases/nonsquare"},
           {"qwen3_vl/model", "qwen3_vl/cases/nonsquare"},
           {"internvl2_internlm2/model", "internvl2_internlm2/cases/single"},
           {"internvl2_internlm2_6b/model", "internvl2_internlm2_6b/cases/single"},
           {"internvl2_phi3/model", "internvl2_phi3/cases/single"},
           {"internvl3_qwen2/model", "internvl3_qwen2/cases/single"},
           {"internvl3_qwen2_hf/model", "internvl3_qwen2_hf/cases/single"},
           {"internvl3_qwen3/model", "internvl3_qwen3/cases/single"},
           {"internvl3_qwen3_hf/model", "internvl3_qwen3_hf/cases/single"},
           {"anyres_llava_next/model", "anyres_llava_next/cases/wide"},
           {"anyres_llava_onevision/model", "anyres_llava_onevision/cases/wide"}})
    for (const fs::path& plan : testing::plans_below(fixtures / test)) {
      SCOPED_TRACE(model + " under " + plan.string());
      expect_export(fixtures / model, read_plan(plan));
      ++exported;
    }
  EXPECT_EQ(exported, 7 * 7 + 4 + 6 + 2 * 8 + 2 * 2 + 2 * 4);
}

TEST(Export, GroupedQueryAttentionWithBiasesInBf16) {
  testing::TemporaryFolder folder;
  testing::write_grouped_model(folder / "grouped");
  const OpenModel model = open_model(folder / "grouped");
  ASSERT_EQ(model.spec.text.group_size(), 2);
  ASSERT_TRUE(model.spec.text.attention_bias);
  for (uint32_t seed = 0; seed < 4; ++seed)
    expect_export(folder / "grouped", testing::half_plan(model.spec.text, seed));
}

TEST(Export, AModelInFp16) {
  const fs::path source = fs::path(YOPO_SOURCE_DIR) / "examples" / "digitgrid" / "model";
  expect_export(source, testing::half_plan(open_model(source).spec.text, 1));
}

TEST(Export, ADensePlanCopiesEveryTensor) {
  testing::TemporaryFolder folder;
  const OpenModel model = open_model(fixtures / "llava_hf" / "model");
  export_checkpoint(model, dense_plan(model.spec.text), folder / "out", {});
  const Checkpoint after = Checkpoint::open(folder / "out");
  for (const auto& [name, tensor] : model.checkpoint.tensors())
    EXPECT_TRUE(std::ranges::equal(after.at(name).bytes, tensor.bytes)) << name;
}

TEST(Export, TheSameBytesEveryTime) {
  testing::TemporaryFolder folder;
  for (const char* family : {"llava_hf", "llava_orig"}) {
    const OpenModel model = open_model(fixtures / family / "model");
    const Plan plan = testing::half_plan(model.spec.text, 3);
    for (const char* name : {"first", "second"})
      export_checkpoint(model, plan, folder / (std::string(family) + name), {.shard_size = 100'000});
    const auto first = testing::contents(folder / (std::string(family) + "first"));
    EXPECT_GT(first.size(), 5u);
    EXPECT_EQ(first, testing::contents(folder / (std::string(family) + "second")));
  }
}

TEST(Export, ConfigKeepsItsKeysInOrderAndGainsOne) {
  testing::TemporaryFolder folder;
  const OpenModel model = open_model(fixtures / "llava_hf" / "model");
  export_checkpoint(model, testing::half_plan(model.spec.text, 3), folder / "out", {});
  Json config = read_json(folder / "out" / "config.json");
  EXPECT_EQ(std::prev(config.end()).key(), "yopo");
  EXPECT_EQ(config["yopo"]["format"], "yopo-pruned");
  config.erase("yopo");
  EXPECT_EQ(config.dump(), model.checkpoint.config().dump());
}

TEST(Export, TheSeparateTowerComesAlong) {
  testing::TemporaryFolder folder;
  const OpenModel model = open_model(fixtures / "llava_orig" / "model");
  ASSERT_FALSE(model.spec.vision_folder.empty());
  // Far from the original, so that nothing of it can be found by chance.
  export_checkpoint(model, testing::half_plan(model.spec.text, 3), folder / "a" / "b" / "out", {});
  const fs::path out = folder / "a" / "b" / "out";
  EXPECT_EQ(read_json(out / "config.json")["mm_vision_tower"], "vision_tower");
  EXPECT_EQ(testing::contents(out / "vision_tower"), testing::contents(fixtures / "llava_orig" / "vision_tower"));
  const OpenModel after = open_model(out);
  EXPECT_EQ(fs::weakly_canonical(after.spec.vision_folder), fs::weakly_canonical(out / "vision_tower"));
}

TEST(Export, ATowerOfAnyNameIsFoundInTheExport) {
  testing::TemporaryFolder folder;
  fs::create_directories(folder / "source");
  fs::copy(fixtures / "llava_orig" / "model", folder / "source" / "llava", fs::copy_options::recursive);
  fs::copy(fixtures / "llava_orig" / "vision_tower", folder / "source" / "clip-small", fs::copy_options::recursive);
  Json config = read_json(folder / "source" / "llava" / "config.json");
  config["mm_vision_tower"] = "someone/clip-small";
  write_json(folder / "source" / "llava" / "config.json", config);
  const OpenModel model = open_model(folder / "source" / "llava");
  export_checkpoint(model, testing::half_plan(model.spec.text, 3), folder / "out", {});
  fs::remove_all(folder / "source");
  EXPECT_EQ(fs::weakly_canonical(open_model(folder / "out").spec.vision_folder),
            fs::weakly_canonical(folder / "out" / "vision_tower"));
}

TEST(Export, ShardsByOrFromTheSource) {
  testing::TemporaryFolder folder;
  const OpenModel model = open_model(fixtures / "llava_hf" / "model");
  const Plan plan = testing::half_plan(model.spec.text, 3);
  export_checkpoint(model, plan, folder / "sharded", {.shard_size = 100'000});
  EXPECT_FALSE(fs::exists(folder / "sharded" / "model.safetensors"));
  const Json index = read_json(folder / "sharded" / "model.safetensors.index.json");
  uint64_t total = 0;
  for (const auto& [name, tensor] : model.checkpoint.tensors()) total += tensor.bytes.size();
  EXPECT_EQ(index["metadata"]["total_size"], total);
  EXPECT_EQ(index["weight_map"].size(), model.checkpoint.tensors().size());
  const OpenModel sharded = open_model(folder / "sharded");
  const auto& shards = sharded.checkpoint.shards();
  ASSERT_GT(shards.size(), 3u);
  EXPECT_EQ(shards.front().file, fmt::format("model-00001-of-{:05}.safetensors", shards.size()));
  std::vector<std::string> order;
  for (const auto& shard : shards) {
    uint64_t bytes = 0;
    for (const std::string& name : shard.names) bytes += sharded.checkpoint.at(name).bytes.size();
    EXPECT_TRUE(bytes <= 100'000 || shard.names.size() == 1);
    order.insert(order.end(), shard.names.begin(), shard.names.end());
  }
  EXPECT_EQ(order, model.checkpoint.shards().front().names) << "the source's order";
  expect_same_model(model, plan, sharded, *plan_of_checkpoint(sharded.checkpoint, sharded.spec.text));

  // A sharded source, made dense again by hand: its own shards with 0, one file with the default.
  Json config = read_json(folder / "sharded" / "config.json");
  config.erase("yopo");
  write_json(folder / "sharded" / "config.json", config);
  const OpenModel source = open_model(folder / "sharded");
  export_checkpoint(source, plan, folder / "mirrored", {.shard_size = 0});
  const Checkpoint mirrored = Checkpoint::open(folder / "mirrored");
  ASSERT_EQ(mirrored.shards().size(), shards.size());
  for (size_t i = 0; i < shards.size(); ++i) EXPECT_EQ(mirrored.shards()[i].names, shards[i].names);
  export_checkpoint(source, plan, folder / "single", {});
  EXPECT_TRUE(fs::exists(folder / "single" / "model.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "single" / "model.safetensors.index.json"));
}

/// A copy of a small checkpoint.
fs::path small_source(const fs::path& source) {
  fs::create_directories(source);
  for (const char* name : {"model.safetensors", "config.json", "preprocessor_config.json"})
    fs::copy_file(fixtures / "llava_hf" / "model" / name, source / name);
  return source;
}

std::string left_out_text(const Companions& companions) {
  std::string text;
  for (const LeftOut& one : companions.left_out) text += one.path + ": " + one.why + "\n";
  return text;
}

TEST(Export, CopiesAllThatIsNoWeights) {
  testing::TemporaryFolder folder;
  const fs::path source = small_source(folder / "source");
  const std::vector<std::string> wanted{"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "chat_template.json",
                                        "chat_template.jinja",
                                        "additional_chat_templates/tool_use.jinja",
                                        "processor_config.json",
                                        "video_preprocessor_config.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "spiece.model",
                                        "LICENSE",
                                        "README.md",
                                        "modeling.py",
                                        "docs/more/picture.png",
                                        "trainer_state.json"};
  // generation_config.json is read with the model, so it must be one.
  for (const std::string& name : wanted) testing::write_file(source / name, "{\"name\": \"" + name + "\"}");
  testing::write_file(source / "generation_config.json", "{\"eos_token_id\": 2}");
  for (const char* name : {"training_args.bin", "optimizer.pt", "onnx/model.onnx", "pytorch_model.bin", ".git/HEAD",
                           ".gitattributes", "checkpoint-5/config.json", "checkpoint-5/model.safetensors"})
    testing::write_file(source / name, "no");
  const OpenModel model = open_model(source);
  const Companions told = export_checkpoint(model, testing::half_plan(model.spec.text, 3), folder / "out", {});
  auto files = testing::contents(folder / "out");
  for (const std::string& name : wanted) EXPECT_EQ(files.at(name), testing::read_file(source / name)) << name;
  EXPECT_EQ(files.size(), wanted.size() + 4) << "those, generation and preprocessor config, config and weights";
  EXPECT_EQ(told.copied.size(), wanted.size() + 2);
  EXPECT_EQ(left_out_text(told),
            ".git: hidden\n.gitattributes: hidden\ncheckpoint-5: a checkpoint of its own\nonnx/model.onnx: weights\n"
            "optimizer.pt: weights\npytorch_model.bin: weights\ntraining_args.bin: weights\n");
  EXPECT_TRUE(told.derived.empty());
}

TEST(Export, ReadsThroughLinksThatStayAtHome) {
  testing::TemporaryFolder folder;
  // As download caches keep them: every file is a link to one of a folder beside.
  const fs::path plain = small_source(folder / "hub/blobs"), source = folder / "hub/snapshots/rev";
  testing::write_file(plain / "LICENSE", "free");
  testing::write_file(folder / "secret", "mine");
  fs::create_directories(source / "folder");
  for (const auto& entry : fs::directory_iterator(plain))
    fs::create_symlink(fs::path("../../blobs") / entry.path().filename(), source / entry.path().filename());
  fs::create_symlink(folder / "secret", source / "README.md");
  fs::create_symlink("../../../../secret", source / "folder/NOTICE");
  fs::create_symlink(folder / "secret", source / "tokenizer.model");  // what the model is run with is read anyway
  fs::create_symlink("absent", source / "gone.txt");
  fs::create_symlink(folder.path(), source / "everything");
  fs::create_symlink("LICENSE", source / "COPYING");
  ASSERT_EQ(::mkfifo((source / "pipe").c_str(), 0600), 0);
  const OpenModel model = open_model(source);
  const Companions told = export_checkpoint(model, testing::half_plan(model.spec.text, 3), folder / "out", {});
  EXPECT_EQ(told.copied,
            (std::vector<std::string>{"COPYING", "LICENSE", "preprocessor_config.json", "tokenizer.model"}));
  EXPECT_EQ(testing::read_file(folder / "out/LICENSE"), "free");
  EXPECT_FALSE(fs::is_symlink(folder / "out/LICENSE"));
  EXPECT_EQ(
      left_out_text(told),
      "README.md: a link out of the folder\neverything: a link to a folder\nfolder/NOTICE: a link out of the folder\n"
      "gone.txt: a link to nothing\npipe: no file\n");
}

TEST(Export, DoesNotCopyItself) {
  testing::TemporaryFolder folder;
  const fs::path source = small_source(folder / "source");
  testing::write_file(source / "runs/notes.txt", "kept");
  const OpenModel model = open_model(source);
  const Companions told = export_checkpoint(model, testing::half_plan(model.spec.text, 3), source / "runs/pruned", {});
  EXPECT_EQ(told.copied, (std::vector<std::string>{"preprocessor_config.json", "runs/notes.txt"}));
  EXPECT_FALSE(fs::exists(source / "runs/pruned/runs/pruned"));
  // The next export sees the first as a checkpoint of its own.
  const Companions again = export_checkpoint(model, testing::half_plan(model.spec.text, 3), folder / "again", {});
  EXPECT_EQ(left_out_text(again), "runs/pruned: a checkpoint of its own\n");
}

TEST(Export, PassesOverPointersThatNoLoaderNeeds) {
  testing::TemporaryFolder folder;
  const fs::path source = small_source(folder / "source");
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
  testing::write_file(source / "images/one.png", pointer);
  const OpenModel model = open_model(source);
  const Plan plan = testing::half_plan(model.spec.text, 3);
  EXPECT_EQ(left_out_text(export_checkpoint(model, plan, folder / "out", {})), "images/one.png: a Git LFS pointer\n");
  testing::write_file(source / "tokenizer.json", pointer);
  EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "other", {}), "tokenizer.json: it is a Git LFS pointer");
}

TEST(Export, WritesImageRulesForOlderLoaders) {
  testing::TemporaryFolder folder;
  const fs::path source = small_source(folder / "source");
  Json rules = read_json(source / "preprocessor_config.json");
  const OpenModel model = open_model(source);  // read before its rules are moved
  const Plan plan = testing::half_plan(model.spec.text, 3);
  fs::remove(source / "preprocessor_config.json");
  for (const auto& [newer, older] : {std::pair{"CLIPImageProcessor", "CLIPImageProcessorFast"},
                                     {"CLIPImageProcessorPil", "CLIPImageProcessor"},
                                     {"CLIPImageProcessorFast", "CLIPImageProcessorFast"}}) {
    rules["image_processor_type"] = newer;
    write_json(source / "processor_config.json", {{"image_processor", rules}, {"processor_class", "LlavaProcessor"}});
    const Companions told = export_checkpoint(model, plan, folder / newer, {});
    EXPECT_EQ(told.derived, std::vector<std::string>{"preprocessor_config.json"});
    Json expected = rules;
    expected["image_processor_type"] = older;
    expected["processor_class"] = "LlavaProcessor";
    EXPECT_EQ(read_json(folder / newer / "preprocessor_config.json"), expected);
    EXPECT_EQ(read_json(folder / newer / "processor_config.json"), read_json(source / "processor_config.json"));
  }
  // Rules of its own stay, and a processor without any gives none.
  write_json(source / "processor_config.json", {{"processor_class", "LlavaProcessor"}});
  EXPECT_TRUE(export_checkpoint(model, plan, folder / "none", {}).derived.empty());
  EXPECT_FALSE(fs::exists(folder / "none/preprocessor_config.json"));
}

TEST(Staging, NamesTheReasonThatAFolderCannotBeMade) {
  // Nobody can make one there, root neither.
  EXPECT_USER_ERROR(StagingFolder("/proc/export"), "cannot make folder /proc/export.partial-");
  try {
    StagingFolder("/proc/export");
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()).find("Success"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(std::generic_category().message(ENOENT)), std::string::npos)
        << error.what();
  }
}

TEST(Export, KeepsTensorsItDoesNotKnow) {
  testing::TemporaryFolder folder;
  auto tensors = testing::owned_tensors(fixtures / "llava_hf" / "model" / "model.safetensors");
  tensors["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] =
      OwnedTensor::of({4}, std::vector<float>{1, 2, 3, 4});
  tensors["counter"] = OwnedTensor::of({1}, std::vector<int64_t>{7});
  fs::create_directories(folder / "source");
  fs::copy_file(fixtures / "llava_hf" / "model" / "config.json", folder / "source" / "config.json");
  write_safetensors(folder / "source" / "model.safetensors", tensors);
  const OpenModel model = open_model(folder / "source");
  export_checkpoint(model, testing::half_plan(model.spec.text, 3), folder / "out", {});
  const Checkpoint after = Checkpoint::open(folder / "out");
  EXPECT_EQ(after.at("counter").ints(), std::vector<int64_t>{7});
  EXPECT_EQ(after.at("language_model.model.layers.0.self_attn.rotary_emb.inv_freq").floats(),
            (std::vector<float>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace yopo
