#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <limits>

#include "core/error.h"
#include "core/leftovers.h"
#include "exporters/export.h"
#include "exporters/staging.h"
#include "tests/exporters/export_support.h"

namespace yopo {
namespace {

using testing::fixtures;

ino_t inode_of(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

class Refusals : public ::testing::Test {
 protected:
  testing::TemporaryFolder folder;
  OpenModel model = open_model(fixtures / "llava_hf" / "model");
  Plan plan = testing::half_plan(model.spec.text, 3);
};

TEST_F(Refusals, ASecondRunDoesNothing) {
  export_checkpoint(model, plan, folder / "out", {});
  const auto files = testing::contents(folder / "out");
  const ino_t inode = inode_of(folder / "out" / "model.safetensors");
  export_checkpoint(model, plan, folder / "out", {});
  EXPECT_EQ(inode_of(folder / "out" / "model.safetensors"), inode);
  EXPECT_EQ(testing::contents(folder / "out"), files);
}

TEST_F(Refusals, AnExportOfOtherInputsStays) {
  export_checkpoint(model, plan, folder / "out", {});
  const auto files = testing::contents(folder / "out");
  const Plan other = testing::half_plan(model.spec.text, 4);
  EXPECT_USER_ERROR(export_checkpoint(model, other, folder / "out", {}), "other plan");
  EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "out", {.shard_size = 1000}), "other shard_size");
  const OpenModel elsewhere = open_model(fixtures / "llava_hf" / "model_newkeys");
  EXPECT_USER_ERROR(export_checkpoint(elsewhere, plan, folder / "out", {}), "other checkpoint");
  EXPECT_EQ(testing::contents(folder / "out"), files);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
}

TEST_F(Refusals, AFolderOfSomethingElseStays) {
  testing::write_file(folder / "out" / "thesis.tex", "years of work");
  EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "out", {}), "no exported checkpoint");
  EXPECT_EQ(testing::read_file(folder / "out" / "thesis.tex"), "years of work");
  testing::write_file(folder / "file", "x");
  EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "file", {}), "no folder");
  fs::create_directories(folder / "model");
  fs::copy_file(fixtures / "llava_hf" / "model" / "config.json", folder / "model" / "config.json");
  EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "model", {}), "no exported checkpoint");
}

TEST_F(Refusals, AnEmptyFolderIsFilled) {
  fs::create_directories(folder / "out");
  export_checkpoint(model, plan, (folder / "out").string() + "/", {});
  EXPECT_TRUE(fs::exists(folder / "out" / "config.json"));
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
}

TEST_F(Refusals, AnExportIsNoSource) {
  export_checkpoint(model, plan, folder / "out", {});
  const OpenModel exported = open_model(folder / "out");
  EXPECT_USER_ERROR(export_checkpoint(exported, plan, folder / "again", {}), "exported checkpoint already");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
}

TEST_F(Refusals, OnlySkipPlansThatFit) {
  plan.semantics = Semantics::Llava;
  EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "out", {}), "'llava'");
  plan.semantics = Semantics::Skip;
  plan.layers.pop_back();
  EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "out", {}), "4 layers, but the model has 5");
  EXPECT_TRUE(names_in(folder.path()).empty());
}

TEST_F(Refusals, NaNAndInfAreNamedWhereverTheyAre) {
  const auto spoil = [&](const std::string& name, size_t index, float value, const std::string& place) {
    SCOPED_TRACE(name);
    auto tensors = testing::owned_tensors(fixtures / "llava_hf" / "model" / "model.safetensors");
    reinterpret_cast<float*>(tensors.at(name).bytes.data())[index] = value;
    testing::TemporaryFolder spoilt;
    fs::copy_file(fixtures / "llava_hf" / "model" / "config.json", spoilt / "config.json");
    write_safetensors(spoilt / "model.safetensors", tensors);
    EXPECT_USER_ERROR(export_checkpoint(open_model(spoilt.path()), plan, folder / "out", {}), name);
    EXPECT_USER_ERROR(export_checkpoint(open_model(spoilt.path()), plan, folder / "out", {}), place);
    EXPECT_TRUE(names_in(folder.path()).empty());
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  spoil("language_model.model.layers.1.self_attn.q_proj.weight", 64 * 3 + 5, nan, "[3, 5]");  // rows move
  spoil("language_model.model.layers.2.mlp.down_proj.weight", 138 + 1, inf, "[1, 1]");        // columns move
  spoil("language_model.lm_head.weight", size_t(64) * 2, nan, "[2, 0]");                      // copied
  spoil("multi_modal_projector.linear_1.bias", 63, -inf, "[63]");
}

TEST_F(Refusals, NaNInTheSeparateTower) {
  fs::copy(fixtures / "llava_orig", folder / "source", fs::copy_options::recursive);
  const fs::path file = folder / "source" / "vision_tower" / "model.safetensors";
  auto tensors = testing::owned_tensors(file);
  const std::string name = "vision_model.encoder.layers.1.mlp.fc1.weight";
  reinterpret_cast<float*>(tensors.at(name).bytes.data())[9] = std::numeric_limits<float>::quiet_NaN();
  write_safetensors(file, tensors);
  const OpenModel original = open_model(folder / "source" / "model");
  EXPECT_USER_ERROR(export_checkpoint(original, plan, folder / "out", {}), name);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"source"});
}

// Files can grow to `bytes` and no further while it lives, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

TEST_F(Refusals, AFullDiskLeavesNothing) {
  const auto source = testing::contents(fixtures / "llava_hf" / "model");
  // In the header, in the middle of a tensor, in the second of several shards, and in the last file.
  const uint64_t weights = fs::file_size(fixtures / "llava_hf" / "model" / "model.safetensors");
  struct Disk {
    uint64_t bytes, shard_size;
  };
  for (const auto [bytes, shard_size] :
       {Disk{100, 0}, Disk{weights / 2, 0}, Disk{weights - 1, 0}, Disk{60'000, 50'000}, Disk{2000, 1}}) {
    SCOPED_TRACE(bytes);
    {
      const FileSizeLimit limit(bytes);
      EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "out", {.shard_size = shard_size}), "File too large");
    }
    EXPECT_TRUE(names_in(folder.path()).empty());
  }
  EXPECT_EQ(testing::contents(fixtures / "llava_hf" / "model"), source);
  export_checkpoint(model, plan, folder / "out", {});
  EXPECT_TRUE(fs::exists(folder / "out" / "config.json"));
}

TEST_F(Refusals, AFolderThatCameInTheMeantimeStays) {
  {
    StagingFolder staging(folder / "out");
    testing::write_file(staging.path() / "ours", "x");
    testing::write_file(folder / "out" / "theirs", "y");
    EXPECT_USER_ERROR(staging.publish(), "cannot rename");
  }
  EXPECT_EQ(testing::contents(folder.path()), (std::map<std::string, std::string>{{"out/theirs", "y"}}));
}

TEST_F(Refusals, AFolderThatAKilledRunLeftGoes) {
  testing::write_file(folder / "out.partial-2147483646" / "model.safetensors", "gigabytes");
  testing::write_file(folder / "out.partial-note.txt", "the user's");
  {
    const StagingFolder alive(folder / "out");
    testing::write_file(alive.path() / "x", "");
    EXPECT_FALSE(fs::exists(folder / "out.partial-2147483646"));
    remove_leftovers(folder / "out");
    EXPECT_TRUE(fs::exists(alive.path() / "x")) << "its maker lives";
    EXPECT_USER_ERROR(StagingFolder(folder / "out"), "it is there already");
    EXPECT_TRUE(fs::exists(alive.path() / "x"));
  }
  export_checkpoint(model, plan, folder / "out", {});
  std::vector<std::string> names = names_in(folder.path());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"out", "out.partial-note.txt"}));
}

TEST_F(Refusals, AFolderThatCannotBeMade) {
  testing::write_file(folder / "file", "x");
  EXPECT_USER_ERROR(export_checkpoint(model, plan, folder / "file" / "out", {}), "cannot make folder");
  EXPECT_USER_ERROR(export_checkpoint(model, plan, fs::path(), {}), "names no new folder");
}

}  // namespace
}  // namespace yopo
