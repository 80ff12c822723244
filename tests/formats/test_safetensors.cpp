#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;

const std::string kFixture = std::string(YOPO_TEST_DATA) + "/fixtures/llava_hf/model/model.safetensors";

TEST(Safetensors, ReadsAFileOfTheReferenceImplementation) {
  const SafetensorsFile file = SafetensorsFile::open(kFixture);
  EXPECT_GT(file.tensors().size(), 50u);
  EXPECT_EQ(file.names().size(), file.tensors().size());
  EXPECT_EQ(file.metadata().at("format"), "pt");
  size_t total = 0;
  const std::byte* reached = nullptr;
  for (const std::string& name : file.names()) {
    const TensorView& view = file.at(name);
    EXPECT_EQ(view.bytes.size(), size_t(view.count()) * size_of(view.dtype)) << name;
    EXPECT_TRUE(reached == nullptr || view.bytes.data() == reached) << "names() is in file order: " << name;
    reached = view.bytes.data() + view.bytes.size();
    total += view.bytes.size();
  }
  EXPECT_LT(total, fs::file_size(kFixture));
}

TEST(Safetensors, RoundTrip) {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.safetensors";
  const std::vector<float> floats{1, -2.5f, 3, 4, 5, 6};
  const std::vector<int64_t> ints{-7, int64_t(1) << 40, 0};
  write_safetensors(path,
                    {{"a.odd", OwnedTensor::of({3, 1}, std::vector<float>{7, 8, 9})},
                     {"b.floats", OwnedTensor::of({2, 3}, floats)},
                     {"c.ints", OwnedTensor::of({3}, ints)},
                     {"d.empty", OwnedTensor::of({0, 4}, std::vector<float>{})},
                     {"e.scalar", OwnedTensor::of({}, std::vector<float>{2})}},
                    {{"key", "välue \"quoted\""}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_TRUE(testing::close(file.at("b.floats").floats(), floats, 0));
  EXPECT_EQ(file.at("b.floats").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.at("c.ints").ints(), ints);
  EXPECT_TRUE(testing::close(file.at("e.scalar").floats(), std::vector<float>{2}, 0));
  EXPECT_EQ(file.at("e.scalar").count(), 1);
  EXPECT_TRUE(file.at("d.empty").floats().empty());
  EXPECT_EQ(file.metadata().at("key"), "välue \"quoted\"");
  EXPECT_EQ(file.names().front(), "c.ints") << "wider elements first: every tensor stays aligned";
  for (const auto& [name, view] : file.tensors())
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.bytes.data()) % size_of(view.dtype), 0u) << name;
}

TEST(Safetensors, SameContentSameBytes) {
  const TemporaryFolder folder;
  const std::map<std::string, OwnedTensor> tensors{{"a", OwnedTensor::of({2}, std::vector<float>{1, 2})}};
  write_safetensors(folder / "1", tensors, {{"m", "x"}});
  write_safetensors(folder / "2", tensors, {{"m", "x"}});
  const std::string bytes = testing::read_file(folder / "1");
  EXPECT_EQ(bytes, testing::read_file(folder / "2"));
  EXPECT_EQ(bytes.substr(8, 80),
            R"({"__metadata__":{"m":"x"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})" + std::string(" ", 1));
  EXPECT_EQ((bytes.size() - 8) % 8, 0u);
}

TEST(Safetensors, MisalignedDataIsReadable) {
  // Written by hand without padding: the F32 tensor starts at an odd address.
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  std::string bytes(8, '\0');
  bytes[0] = char(header.size());
  bytes += header;
  bytes += '\x2a';
  const float values[2] = {1.5f, -2};
  bytes.append(reinterpret_cast<const char*>(values), 8);
  const TemporaryFolder folder;
  testing::write_file(folder / "a.safetensors", bytes);
  const SafetensorsFile file = SafetensorsFile::open(folder / "a.safetensors");
  const TensorView& view = file.at("b");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view.bytes.data()) % 4, 0u);
  EXPECT_EQ(view.data<float>()[1], -2);
  EXPECT_TRUE(testing::close(view.floats(), std::vector<float>{1.5f, -2}, 0));
  EXPECT_EQ(file.at("a").ints(), std::vector<int64_t>{42});
}

TEST(Safetensors, ViewsOutliveTheReader) {
  const TemporaryFolder folder;
  TensorView view;
  {
    write_safetensors(folder / "a", {{"w", OwnedTensor::of({2}, std::vector<float>{3, 4})}});
    view = SafetensorsFile::open(folder / "a").at("w");
  }
  EXPECT_TRUE(testing::close(view.floats(), std::vector<float>{3, 4}, 0));
}

TEST(Safetensors, NarrowTypesConvert) {
  const TemporaryFolder folder;
  SafetensorsWriter writer(folder / "a", {{"bf", DType::BF16, {2}},
                                          {"h", DType::F16, {1}},
                                          {"i16", DType::I16, {2}},
                                          {"i8", DType::I8, {1}},
                                          {"bool", DType::Bool, {3}}});
  const uint16_t bf[2] = {0x3f80, 0xc000}, half = 0x3800;
  const int16_t wide[2] = {-300, 5};
  const int8_t narrow = -1;
  const uint8_t flags[3] = {0, 1, 2};
  writer.append(bf, 2);
  writer.append(&bf[1], 2);
  writer.append(&half, 2);
  writer.append(wide, 4);
  writer.append(&narrow, 1);
  writer.append(flags, 3);
  writer.finish();
  const SafetensorsFile file = SafetensorsFile::open(folder / "a");
  EXPECT_TRUE(testing::close(file.at("bf").floats(), std::vector<float>{1, -2}, 0));
  EXPECT_TRUE(testing::close(file.at("h").floats(), std::vector<float>{0.5f}, 0));
  EXPECT_EQ(file.at("i16").ints(), (std::vector<int64_t>{-300, 5}));
  EXPECT_EQ(file.at("i8").ints(), (std::vector<int64_t>{-1}));
  EXPECT_EQ(file.at("bool").ints(), (std::vector<int64_t>{0, 1, 1}));
  EXPECT_USER_ERROR(file.at("i8").floats(), "expected a floating tensor, found I8 [1]");
  EXPECT_USER_ERROR(file.at("h").ints(), "expected an integer tensor, found F16 [1]");
  EXPECT_USER_ERROR(file.at("i61"), "no tensor 'i61'");
  EXPECT_USER_ERROR(file.at("i61"), (folder / "a").string());
}

TEST(SafetensorsWriter, WritesExactlyWhatItDeclared) {
  const TemporaryFolder folder;
  const float value = 1;
  {
    SafetensorsWriter writer(folder / "a", {{"w", DType::F32, {2}}});
    writer.append(&value, 4);
    EXPECT_THROW(writer.finish(), InternalError);
    const float two[2] = {1, 2};
    EXPECT_THROW(writer.append(two, 8), InternalError);
  }
  EXPECT_TRUE(fs::is_empty(folder.path())) << "an unfinished file leaves nothing";
  EXPECT_THROW(SafetensorsWriter(folder / "a", {{"w", DType::F32, {2}}, {"w", DType::F32, {2}}}), InternalError);
  EXPECT_THROW(SafetensorsWriter(folder / "a", {{"__metadata__", DType::F32, {2}}}), InternalError);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace yopo
