#include "formats/checkpoint.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/formats/torch_bytes.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;
using testing::write_file;

OwnedTensor floats(const std::vector<float>& values) { return OwnedTensor::of({int64_t(values.size())}, values); }

/// A checkpoint of two shards: a and b in the first, c in the second.
void write_sharded(const fs::path& folder) {
  write_file(folder / "config.json", R"({"model_type": "x"})");
  write_safetensors(folder / "model-1.safetensors", {{"a", floats({1})}, {"b", floats({2, 3})}});
  write_safetensors(folder / "model-2.safetensors", {{"c", floats({4})}});
  write_file(
      folder / "model.safetensors.index.json",
      R"({"metadata": {}, "weight_map": {"a": "model-1.safetensors", "c": "model-2.safetensors", "b": "model-1.safetensors"}})");
}
void set_index(const fs::path& folder, const std::string& map) {
  write_file(folder / "model.safetensors.index.json", R"({"weight_map": )" + map + "}");
}

TEST(Checkpoint, OpensARealOne) {
  const Checkpoint checkpoint = Checkpoint::open(std::string(YOPO_TEST_DATA) + "/fixtures/llava_hf/model");
  EXPECT_GT(checkpoint.tensors().size(), 50u);
  EXPECT_EQ(get_string(checkpoint.config(), "model_type", "config"), "llava");
  ASSERT_EQ(checkpoint.shards().size(), 1u);
  EXPECT_EQ(checkpoint.shards()[0].file, "model.safetensors");
  EXPECT_EQ(checkpoint.shards()[0].names.size(), checkpoint.tensors().size());
  for (const auto& [name, view] : checkpoint.tensors()) EXPECT_NO_THROW(check_finite(view, name, checkpoint.folder()));
}

TEST(Checkpoint, JoinsShards) {
  const TemporaryFolder folder;
  write_sharded(folder.path());
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_TRUE(testing::close(checkpoint.at("c").floats(), std::vector<float>{4}, 0));
  ASSERT_EQ(checkpoint.shards().size(), 2u);
  EXPECT_EQ(checkpoint.shards()[0].file, "model-1.safetensors");
  EXPECT_EQ(checkpoint.shards()[0].names, (std::vector<std::string>{"a", "b"}));
  const std::vector<int64_t> right{2}, wrong{2, 1};
  EXPECT_NO_THROW(checkpoint.at("b", right));
  EXPECT_USER_ERROR(checkpoint.at("b", wrong), "tensor 'b' should have shape [2, 1], found [2]");
  EXPECT_USER_ERROR(checkpoint.at("missing"), folder.path().string() + ": no tensor 'missing'");
}

TEST(Checkpoint, FollowsLinkedShards) {
  // The Hugging Face cache keeps files elsewhere and links them.
  const TemporaryFolder folder;
  write_sharded(folder / "real");
  fs::create_directory(folder / "linked");
  for (const auto& entry : fs::directory_iterator(folder / "real"))
    fs::create_symlink(entry.path(), folder / "linked" / entry.path().filename());
  EXPECT_EQ(Checkpoint::open(folder / "linked").tensors().size(), 3u);
}

TEST(Checkpoint, RefusesBrokenFolders) {
  const TemporaryFolder folder;
  EXPECT_USER_ERROR(Checkpoint::open(folder / "none"), "no such folder");
  write_file(folder / "file", "");
  EXPECT_USER_ERROR(Checkpoint::open(folder / "file"), "expected a checkpoint folder");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "no config.json");
  write_file(folder / "config.json", "[]");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "config.json: expected a JSON object");
  write_file(folder / "config.json", "{}");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "no weights");
  write_file(folder / "pytorch_model-00001-of-00002.bin", "");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()),
                    "no weights by a name that is known: expected model.safetensors, "
                    "model.safetensors.index.json, pytorch_model.bin, "
                    "pytorch_model.bin.index.json; found pytorch_model-00001-of-00002.bin");
}

/// A file of torch.save with tensors of these names, each of two fp32: `value` and 2.
std::string torch_bytes(const std::vector<std::string>& names, float value) {
  const std::vector<float> values{value, 2};
  std::vector<std::pair<std::string, std::string>> tensors;
  tensors.reserve(names.size());
  for (const std::string& name : names)
    tensors.emplace_back(name, testing::rebuilt(testing::storage("FloatStorage", "0", 2), 0, {2}, {1}));
  return testing::torch_file(testing::dict(tensors), {std::string(reinterpret_cast<const char*>(values.data()), 8)});
}

TEST(Checkpoint, OpensTorchFilesAfterSafetensors) {
  const TemporaryFolder folder;
  write_file(folder / "config.json", "{}");
  write_file(folder / "pytorch_model.bin.index.json", R"({"weight_map": {"c": "2.bin", "b": "1.bin", "a": "1.bin"}})");
  write_file(folder / "1.bin", torch_bytes({"b", "a"}, 1));
  write_file(folder / "2.bin", torch_bytes({"c"}, 3));
  const Checkpoint sharded = Checkpoint::open(folder.path());
  EXPECT_TRUE(testing::close(sharded.at("c").floats(), std::vector<float>{3, 2}, 0));
  ASSERT_EQ(sharded.shards().size(), 2u);
  EXPECT_EQ(sharded.shards()[1].file, "1.bin");
  EXPECT_EQ(sharded.shards()[1].names, (std::vector<std::string>{"b", "a"}));
  write_file(folder / "2.bin", torch_bytes({"a"}, 3));
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "tensor 'a' is in 2.bin, pytorch_model.bin.index.json says 1.bin");
  fs::remove(folder / "2.bin");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "shard 2.bin is missing, pytorch_model.bin.index.json names it");
  write_file(folder / "pytorch_model.bin", torch_bytes({"one"}, 4));
  EXPECT_TRUE(Checkpoint::open(folder.path()).contains("one"));
  write_sharded(folder.path());
  EXPECT_TRUE(Checkpoint::open(folder.path()).contains("a")) << "safetensors win, sharded ones too";
  write_file(folder / "model.safetensors", "x");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "model.safetensors");
}

TEST(Checkpoint, SupplementsWhatItLacks) {
  const TemporaryFolder folder;
  write_sharded(folder.path());
  Checkpoint checkpoint = Checkpoint::open(folder.path());
  checkpoint.supplement("more.bin", "p.");
  EXPECT_EQ(checkpoint.tensors().size(), 3u) << "no such file";
  write_file(folder / "more.bin", torch_bytes({"p.1", "a", "p.0"}, 5));
  checkpoint.supplement("more.bin", "a");
  EXPECT_TRUE(testing::close(checkpoint.at("a").floats(), std::vector<float>{1}, 0)) << "its own";
  checkpoint.supplement("more.bin", "p.");
  EXPECT_EQ(checkpoint.tensors().size(), 5u);
  EXPECT_TRUE(testing::close(checkpoint.at("p.0").floats(), std::vector<float>{5, 2}, 0));
  ASSERT_EQ(checkpoint.shards().size(), 3u);
  EXPECT_EQ(checkpoint.shards()[2].file, "more.bin");
  EXPECT_EQ(checkpoint.shards()[2].names, (std::vector<std::string>{"p.1", "p.0"}));
  EXPECT_USER_ERROR(checkpoint.supplement("more.bin", "q."), "more.bin: no tensor begins with 'q.'");
}

TEST(Checkpoint, RefusesBrokenIndexes) {
  const TemporaryFolder folder;
  write_sharded(folder.path());
  set_index(folder.path(), R"({"a": "../model-1.safetensors"})");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "leaves its folder");
  set_index(folder.path(), R"({"a": "/etc/passwd"})");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "absolute");
  set_index(folder.path(), R"({"a": 3})");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "weight_map 'a' should be a file name");
  set_index(folder.path(), R"({"a": "model-9.safetensors"})");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "shard model-9.safetensors is missing");
  set_index(folder.path(), R"({"a": "model-1.safetensors", "bb": "model-1.safetensors"})");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()),
                    "names tensor 'bb' in model-1.safetensors, which does not hold it");
  set_index(folder.path(), R"({"a": "model-2.safetensors", "b": "model-1.safetensors"})");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()),
                    "tensor 'a' is in model-1.safetensors, model.safetensors.index.json says model-2");
  set_index(folder.path(), "{}");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()), "weight_map is empty");
  write_safetensors(folder / "model-2.safetensors", {{"a", floats({4})}, {"c", floats({4})}});
  set_index(folder.path(), R"({"b": "model-1.safetensors", "c": "model-2.safetensors"})");
  EXPECT_USER_ERROR(Checkpoint::open(folder.path()),
                    "tensor 'a' is in two shards, model-1.safetensors and model-2.safetensors");
}

TEST(Checkpoint, AddsAnotherUnderAPrefix) {
  const TemporaryFolder folder;
  write_sharded(folder / "1");
  write_sharded(folder / "2");
  Checkpoint checkpoint = Checkpoint::open(folder / "1");
  checkpoint.add(Checkpoint::open(folder / "2"), "tower.");
  EXPECT_EQ(checkpoint.tensors().size(), 6u);
  EXPECT_TRUE(testing::close(checkpoint.at("tower.b").floats(), std::vector<float>{2, 3}, 0));
  EXPECT_EQ(checkpoint.shards().size(), 2u) << "what an exporter mirrors stays this folder's";
  EXPECT_USER_ERROR(checkpoint.add(Checkpoint::open(folder / "2"), ""), "tensor 'a'");
}

TEST(Checkpoint, FingerprintSeesWeightsAndConfig) {
  const TemporaryFolder folder;
  const std::vector<float> large(10'000, 1);
  const auto write = [&](const std::string& config, const std::vector<float>& values, const std::string& name) {
    write_file(folder / "config.json", config);
    write_safetensors(folder / "model.safetensors", {{name, floats(values)}});
    return Checkpoint::open(folder.path()).fingerprint();
  };
  const std::string base = write("{}", large, "w");
  EXPECT_EQ(base, write("{}", large, "w"));
  EXPECT_EQ(base.size(), 32u);
  EXPECT_NE(base, write(R"({"a": 1})", large, "w"));
  EXPECT_NE(base, write("{}", large, "v"));
  auto changed = large;
  changed.front() = 2;
  EXPECT_NE(base, write("{}", changed, "w"));
  changed = large;
  changed.back() = 2;
  EXPECT_NE(base, write("{}", changed, "w"));
  changed.assign(10'001, 1);
  EXPECT_NE(base, write("{}", changed, "w"));
  // What an export records about its own making does not make it another model; its counts do.
  const std::string pruned = write(R"({"yopo": {"heads": 1, "provenance": {"a": 1}}})", large, "w");
  EXPECT_EQ(pruned, write(R"({"yopo": {"heads": 1, "provenance": {"b": 2}}})", large, "w"));
  EXPECT_NE(pruned, write(R"({"yopo": {"heads": 2, "provenance": {"a": 1}}})", large, "w"));
}

class CheckFinite : public ::testing::TestWithParam<DType> {};

TEST_P(CheckFinite, FindsTheFirstBadElementAnywhere) {
  const DType dtype = GetParam();
  constexpr int64_t kRows = 37, kColumns = 2001;  // not a multiple of any block
  std::vector<float> values(size_t(kRows * kColumns), 0.5f);
  values[7] = std::numeric_limits<float>::lowest() * 0 - 0.0f;
  const auto check = [&] {
    OwnedTensor tensor{dtype, {kRows, kColumns}, std::vector<std::byte>(values.size() * size_of(dtype))};
    from_float(values.data(), values.size(), dtype, tensor.bytes.data());
    const TensorView view{dtype, tensor.shape, tensor.bytes, nullptr};
    check_finite(view, "layer.w", "m.safetensors");
  };
  EXPECT_NO_THROW(check());
  for (const size_t at : {size_t(0), size_t(1023), size_t(1024), size_t(70'000), values.size() - 1}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -INFINITY}) {
      values[at] = bad;
      EXPECT_USER_ERROR(check(), "m.safetensors: tensor 'layer.w' [37, 2001] holds NaN or Inf at [" +
                                     std::to_string(at / kColumns) + ", " + std::to_string(at % kColumns) + "]");
      values[at] = 1;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Types, CheckFinite, ::testing::Values(DType::F64, DType::F32, DType::F16, DType::BF16),
                         [](const auto& info) { return std::string(safetensors_name(info.param)); });

TEST(CheckFinite, IntegersAreAlwaysFinite) {
  const std::vector<uint32_t> bits{0x7fc00000u};
  EXPECT_NO_THROW(check_finite({DType::I32, {1}, std::as_bytes(std::span(bits)), nullptr}, "w", "f"));
}

}  // namespace
}  // namespace yopo
