// Tensors of torch.save's files, where they lie or copied into order, and every defect refused by the tensor's name.
#include "formats/torch_file.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/error.h"
#include "tests/formats/torch_bytes.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::close;
using testing::dict;
using testing::global;
using testing::integer;
using testing::rebuilt;
using testing::storage;
using testing::text;
using testing::torch_file;

TorchFile parse(const std::string& bytes) { return TorchFile::parse(testing::mapped(bytes)); }

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
/// 0, 1, 2, ... as fp32.
std::string counting(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0.f);
  return bytes_of(values);
}
/// A tensor over the first storage, which has `count` fp32.
std::string view(int64_t count, int64_t offset, const std::vector<int64_t>& shape,
                 const std::vector<int64_t>& strides) {
  return rebuilt(storage("FloatStorage", "0", count), offset, shape, strides);
}
/// A file of one tensor "w" over twelve fp32.
TorchFile one(int64_t offset, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  return parse(torch_file(dict({{"w", view(12, offset, shape, strides)}}), {counting(12)}));
}

TEST(TorchFile, ViewsContiguousTensorsInPlace) {
  const auto file = testing::mapped(
      torch_file(dict({{"b", view(12, 0, {3, 4}, {4, 1})}, {"a", view(12, 8, {2, 2}, {2, 1})}}), {counting(12)}));
  const TorchFile torch = TorchFile::parse(file);
  EXPECT_EQ(torch.names(), (std::vector<std::string>{"b", "a"})) << "the dict's order";
  const TensorView &b = torch.tensors().at("b"), &a = torch.tensors().at("a");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(b.file, file);
  EXPECT_EQ(a.bytes.data(), b.bytes.data() + 32) << "tied tensors share their bytes";
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.bytes.data()) % 64, 0u);
  EXPECT_TRUE(close(a.floats(), std::vector<float>{8, 9, 10, 11}, 0));
  EXPECT_EQ(b.bytes.size(), 48u);
}

TEST(TorchFile, StridesOfSizesOfOneMeanNothing) {
  const TorchFile file = one(4, {1, 2, 1, 3}, {777, 3, 0, 1});
  EXPECT_EQ(file.tensors().at("w").bytes.size(), 24u);
  EXPECT_TRUE(close(file.tensors().at("w").floats(), std::vector<float>{4, 5, 6, 7, 8, 9}, 0));
}

TEST(TorchFile, CopiesOthersIntoOrder) {
  EXPECT_TRUE(close(one(0, {4, 3}, {1, 4}).tensors().at("w").floats(),
                    std::vector<float>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}, 0));
  EXPECT_TRUE(close(one(1, {3, 2}, {4, 2}).tensors().at("w").floats(), std::vector<float>{1, 3, 5, 7, 9, 11}, 0));
  EXPECT_TRUE(close(one(0, {2, 3, 2}, {1, 4, 2}).tensors().at("w").floats(),
                    std::vector<float>{0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11}, 0));
  EXPECT_TRUE(close(one(11, {12}, {0}).tensors().at("w").floats(), std::vector<float>(12, 11.f), 0))
      << "expanded within its storage's size";
}

TEST(TorchFile, EveryType) {
  const auto read = [](const std::string& type, const std::string& bytes, int64_t count) {
    return parse(torch_file(dict({{"w", rebuilt(storage(type, "0", count), 0, {count}, {1})}}), {bytes}))
        .tensors()
        .at("w");
  };
  EXPECT_TRUE(close(read("DoubleStorage", bytes_of<double>({1.5, -2}), 2).floats(), std::vector<float>{1.5, -2}, 0));
  EXPECT_TRUE(
      close(read("HalfStorage", bytes_of<uint16_t>({0x3c00, 0xc000}), 2).floats(), std::vector<float>{1, -2}, 0));
  EXPECT_TRUE(
      close(read("BFloat16Storage", bytes_of<uint16_t>({0x3f80, 0xc000}), 2).floats(), std::vector<float>{1, -2}, 0));
  EXPECT_EQ(read("LongStorage", bytes_of<int64_t>({-3, 5}), 2).ints(), (std::vector<int64_t>{-3, 5}));
  EXPECT_EQ(read("IntStorage", bytes_of<int32_t>({-3, 5}), 2).ints(), (std::vector<int64_t>{-3, 5}));
  EXPECT_EQ(read("ShortStorage", bytes_of<int16_t>({-3, 5}), 2).ints(), (std::vector<int64_t>{-3, 5}));
  EXPECT_EQ(read("CharStorage", bytes_of<int8_t>({-3, 5}), 2).ints(), (std::vector<int64_t>{-3, 5}));
  EXPECT_EQ(read("ByteStorage", bytes_of<uint8_t>({250, 5}), 2).ints(), (std::vector<int64_t>{250, 5}));
  EXPECT_EQ(read("BoolStorage", bytes_of<uint8_t>({0, 1}), 2).ints(), (std::vector<int64_t>{0, 1}));
  EXPECT_USER_ERROR(read("ComplexFloatStorage", bytes_of<double>({1, 2}), 2),
                    "x.bin: tensor 'w': elements of torch.ComplexFloatStorage are not supported");
}

TEST(TorchFile, ScalarsEmptyTensorsAndParameters) {
  const std::string hooks = global("collections", "OrderedDict") + ")R";
  const std::string parameter =
      global("torch._utils", "_rebuild_parameter") + "(" + view(12, 3, {}, {}) + "\x88" + hooks + "tR";
  const TorchFile file =
      parse(torch_file(dict({{"s", parameter}, {"e", view(12, 12, {0, 5}, {5, 1})}}), {counting(12)}));
  EXPECT_TRUE(close(file.tensors().at("s").floats(), std::vector<float>{3}, 0));
  EXPECT_EQ(file.tensors().at("e").count(), 0);
  EXPECT_EQ(file.tensors().at("e").shape, (std::vector<int64_t>{0, 5}));
}

TEST(TorchFile, OneDictWithinTheRoot) {
  const std::string tensors = dict({{"w", view(12, 0, {12}, {1})}});
  const auto read = [&](const std::string& root) { return parse(torch_file(root, {counting(12)})).tensors().size(); };
  EXPECT_EQ(read(dict({{"model", tensors}})), 1u);
  EXPECT_EQ(read(dict({{"epoch", integer(3)}, {"state_dict", tensors}, {"optimizer", dict({{"state", tensors}})}})),
            1u);
  EXPECT_USER_ERROR(read(dict({{"model", tensors}, {"ema", tensors}})), "tensors under 'model' and under 'ema'");
  EXPECT_USER_ERROR(read(dict({{"a", dict({{"b", tensors}})}})), "a dict without tensors");
  EXPECT_USER_ERROR(read("}"), "a dict without tensors");
  EXPECT_USER_ERROR(read(view(12, 0, {12}, {1})), "expected a dict of tensors, found a tensor");
  EXPECT_USER_ERROR(read("]"), "expected a dict of tensors, found a list");
  EXPECT_USER_ERROR(read(dict({{"w", view(12, 0, {12}, {1})}, {"epoch", integer(3)}})),
                    "tensor 'epoch': expected a tensor, found an integer");
  EXPECT_USER_ERROR(read("}(" + view(12, 0, {12}, {1}).insert(0, integer(1)) + "u"),
                    "a tensor's name should be a text, found an integer");
  EXPECT_USER_ERROR(read(dict({{"", view(12, 0, {12}, {1})}})), "'' is no name");
  EXPECT_USER_ERROR(read(dict({{"__metadata__", view(12, 0, {12}, {1})}})), "'__metadata__' is no name");
  EXPECT_USER_ERROR(read(dict({{"w", view(12, 0, {12}, {1})}, {"w", view(12, 0, {12}, {1})}})), "two tensors 'w'");
}

TEST(TorchFile, ListsOfTensors) {
  const testing::TemporaryFolder folder;
  const auto read = [&](const std::string& root) {
    testing::write_file(folder / "mask.pth", torch_file(root, {counting(12)}));
    return read_torch_tensors(folder / "mask.pth");
  };
  EXPECT_EQ(read(view(12, 0, {3, 4}, {4, 1})).size(), 1u);
  const std::vector<TensorView> two = read("](" + view(12, 0, {2}, {1}) + view(12, 2, {2}, {1}) + "e");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_TRUE(close(two[1].floats(), std::vector<float>{2, 3}, 0));
  EXPECT_EQ(read(testing::tuple({view(12, 0, {2}, {1})})).size(), 1u);
  EXPECT_USER_ERROR(read("]K\1a"), "mask.pth: element 0: expected a tensor, found an integer");
  EXPECT_USER_ERROR(read("}"), "expected a tensor or a list of tensors, found a dict");
}

TEST(TorchFileHostile, Containers) {
  EXPECT_USER_ERROR(parse(""), "x.bin: not a file of torch.save");
  EXPECT_USER_ERROR(parse("{\"a\": 1}"), "not a file of torch.save");
  EXPECT_USER_ERROR(parse("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02"),
                    "saved by PyTorch before 1.6");
  EXPECT_USER_ERROR(parse("\x80\x02}."), "a bare pickle");
  EXPECT_USER_ERROR(parse(testing::zip_of({{"a", "x"}})), "no entry NAME/data.pkl");
  EXPECT_USER_ERROR(parse(testing::zip_of({{"a/b/data.pkl", "x"}})), "no entry NAME/data.pkl");
  EXPECT_USER_ERROR(parse(testing::zip_of({{"a/data.pkl", "x"}, {"b/data.pkl", "x"}})), "two pickles");
  EXPECT_USER_ERROR(parse(torch_file("}", {}, "big")), "byte order 'big'");
  EXPECT_USER_ERROR(parse(testing::zip_of({{.name = "a/data.pkl", .data = testing::pickled("}"), .crc_change = 4}})),
                    "'a/data.pkl' is damaged");
  EXPECT_USER_ERROR(parse(torch_file(global("os", "system") + "(" + text("true") + "tR", {})),
                    "x.bin: data.pkl: byte 2: holds os.system: only tensors are read");
  const std::string good = torch_file(dict({{"w", view(12, 0, {12}, {1})}}), {counting(12)});
  EXPECT_NO_THROW(parse(good));
  for (size_t size = 0; size < good.size(); ++size) EXPECT_USER_ERROR(parse(good.substr(0, size)), "x.bin: ");
}

TEST(TorchFileHostile, Storages) {
  const auto read = [](const std::string& stored, const std::vector<std::string>& storages) {
    return parse(torch_file(dict({{"w", rebuilt(stored, 0, {3}, {1})}}), storages));
  };
  EXPECT_USER_ERROR(read(storage("FloatStorage", "1", 3), {counting(3)}),
                    "tensor 'w': its storage '1' is not in the file");
  EXPECT_USER_ERROR(read(storage("FloatStorage", "../data.pkl", 3), {counting(3)}), "is not in the file");
  EXPECT_USER_ERROR(read(storage("FloatStorage", "0", 3), {counting(2)}),
                    "its storage '0' should hold 3 elements of 4 bytes, found 8 bytes");
  EXPECT_USER_ERROR(read(storage("FloatStorage", "0", 3), {counting(4)}), "found 16 bytes");
  EXPECT_USER_ERROR(read(storage("FloatStorage", "0", 3), {counting(3) + "x"}), "found 13 bytes");
  EXPECT_USER_ERROR(read(storage("FloatStorage", "0", -1), {counting(3)}), "should hold -1 elements");
  EXPECT_USER_ERROR(read(storage("DoubleStorage", "0", INT64_MAX), {counting(3)}),
                    "should hold 9223372036854775807 elements");
  EXPECT_USER_ERROR(read("K\1", {counting(3)}), "expected a storage, found an integer");
  EXPECT_USER_ERROR(read("K\1Q", {counting(3)}), "its storage is not (");
  EXPECT_USER_ERROR(
      read(testing::tuple({text("storage"), text("FloatStorage"), text("0"), text("cpu"), integer(3)}) + "Q",
           {counting(3)}),
      "its storage is not (");
}

TEST(TorchFileHostile, SizesAndStrides) {
  EXPECT_USER_ERROR(one(0, {13}, {1}),
                    "tensor 'w': sizes [13] and strides [1] need 13 elements, its storage has 12 from its offset 0 on");
  EXPECT_USER_ERROR(one(1, {3, 4}, {4, 1}), "its storage has 11 from its offset 1 on");
  EXPECT_USER_ERROR(one(13, {0}, {1}), "its offset should lie in its storage of 12 elements, found 13");
  EXPECT_USER_ERROR(one(-1, {1}, {1}), "its offset should lie in its storage of 12 elements, found -1");
  EXPECT_USER_ERROR(one(0, {-1}, {1}), "sizes should be integers from 0 on, found -1");
  EXPECT_USER_ERROR(one(0, {2}, {-1}), "strides should be integers from 0 on, found -1");
  EXPECT_USER_ERROR(one(0, {2, 2}, {1}), "2 sizes and 1 strides");
  EXPECT_USER_ERROR(one(0, {2, 2}, {1, INT64_MAX - 2}), "need 9223372036854775807");
  EXPECT_USER_ERROR(one(0, {3, 1}, {INT64_MAX, 1}), "lead past 63 bits");
  EXPECT_USER_ERROR(one(0, {2, 2}, {INT64_MAX, INT64_MAX}), "lead past 63 bits");
  EXPECT_USER_ERROR(one(0, {int64_t(1) << 32, int64_t(1) << 32}, {0, 0}), "more elements than fit");
  EXPECT_USER_ERROR(one(0, {int64_t(1) << 40}, {0}), "need 1099511627776 elements");  // a small storage, expanded
  EXPECT_USER_ERROR(one(0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1)),
                    "at most 64 integers, found a tuple");
}

TEST(TorchFileHostile, CopiesStayWithinTheFilesSize) {
  // Views of one storage in many orders: each alone is small enough.
  std::vector<std::pair<std::string, std::string>> views, same;
  const int64_t count = 4096;
  for (int64_t i = 0; i < 12; ++i) {
    const int64_t rows = int64_t(1) << i;
    views.push_back(
        {"w" + std::to_string(i), view(count, 0, {rows, 2, count / rows / 2}, {count / rows / 2, count / 2, 1})});
    same.push_back({"w" + std::to_string(i), view(count, 0, {64, 64}, {1, 64})});
  }
  EXPECT_USER_ERROR(parse(torch_file(dict(views), {counting(count)})), "views that hold more than the file");
  const TorchFile tied = parse(torch_file(dict(same), {counting(count)}));
  EXPECT_EQ(tied.tensors().at("w0").bytes.data(), tied.tensors().at("w11").bytes.data()) << "one copy for all";
}

TEST(TorchFileHostile, WhatATensorIsMadeOf) {
  const auto read = [](const std::string& tensor) { return parse(torch_file(dict({{"w", tensor}}), {counting(12)})); };
  const std::string rebuild = global("torch._utils", "_rebuild_tensor_v2"),
                    parameter = global("torch._utils", "_rebuild_parameter");
  const std::string stored = storage("FloatStorage", "0", 12);
  EXPECT_USER_ERROR(read(rebuild + ")R"), "tensor 'w': made of 0 values, expected 6 or 7");
  EXPECT_USER_ERROR(read(rebuild + testing::tuple({stored, "N", "N", "N", "N", "N"}) + "R"),
                    "its offset should lie in its storage of 12 elements, found None");
  EXPECT_USER_ERROR(read(rebuild + testing::tuple({stored, "K\1", "K\1", "N", "N", "N"}) + "R"),
                    "sizes should be a tuple");
  EXPECT_USER_ERROR(read(rebuild + testing::tuple({stored, "K\1", "(Nt", "N", "N", "N"}) + "R"),
                    "sizes should be integers from 0 on, found None");
  EXPECT_NO_THROW(read(rebuilt(stored, 0, {12}, {1}, "N")));
  EXPECT_NO_THROW(read(rebuilt(stored, 0, {12}, {1}, "}")));
  EXPECT_USER_ERROR(read(rebuilt(stored, 0, {12}, {1}, dict({{"neg", "\x88"}}))), "a conjugated or negated view");
  EXPECT_USER_ERROR(read(parameter + "K\1K\2K\3\x87R"), "a parameter that is not made of a tensor");
  EXPECT_USER_ERROR(read(parameter + ")R"), "a parameter that is not made of a tensor");
  const std::string inner = parameter + view(12, 0, {12}, {1}) + "NN\x87R";
  EXPECT_NO_THROW(read(inner));
  EXPECT_USER_ERROR(read(parameter + inner + "NN\x87R"), "a parameter made of a parameter");
}

}  // namespace
}  // namespace yopo
