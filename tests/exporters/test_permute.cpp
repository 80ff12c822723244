#include "exporters/permute.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

// A tensor in memory whose bytes are all different from their neighbours', and finite as a float of any type.
TensorView tensor_of(DType dtype, std::vector<int64_t> shape) {
  const size_t count = size_t(element_count(shape, "test")), width = size_of(dtype);
  std::vector<std::byte> bytes(count * width, std::byte(0));
  for (size_t i = 0; i < count; ++i) {
    bytes[i * width] = std::byte(i & 0xff);
    if (width > 1) bytes[i * width + 1] = std::byte((i >> 8) & 0x3f);
    if (width > 2) bytes[i * width + 2] = std::byte((i >> 14) & 0x3f);
  }
  const auto file = MappedFile::copy_of(bytes, "memory");
  return {dtype, std::move(shape), file->bytes(), file};
}

BlockOrder shuffled(int64_t blocks, int64_t block, uint32_t seed) {
  BlockOrder order{std::vector<int64_t>(static_cast<size_t>(blocks)), block};
  std::iota(order.order.begin(), order.order.end(), int64_t(0));
  std::mt19937 random(seed);
  for (size_t i = order.order.size(); i > 1; --i) std::swap(order.order[i - 1], order.order[random() % i]);
  if (order.identity()) std::reverse(order.order.begin(), order.order.end());
  return order;
}

std::vector<std::byte> streamed(const TensorView& tensor, const BlockOrder* rows, const BlockOrder* columns) {
  std::vector<std::byte> bytes;
  stream_permuted(tensor, "t", rows, columns, [&](const void* data, size_t size) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), from, from + size);
  });
  return bytes;
}

// Element by element, as plainly as it can be said.
std::vector<std::byte> expected(const TensorView& tensor, const BlockOrder* rows, const BlockOrder* columns) {
  const size_t width = size_of(tensor.dtype), height = size_t(tensor.shape[0]);
  const size_t across = tensor.bytes.size() / height / width;
  std::vector<std::byte> bytes(tensor.bytes.size());
  const auto old_index = [](const BlockOrder* order, size_t i) {
    return order ? size_t(order->order[i / size_t(order->block)] * order->block) + i % size_t(order->block) : i;
  };
  for (size_t r = 0; r < height; ++r)
    for (size_t c = 0; c < across; ++c)
      std::memcpy(&bytes[(r * across + c) * width],
                  &tensor.bytes[(old_index(rows, r) * across + old_index(columns, c)) * width], width);
  return bytes;
}

TEST(Permute, RowsAndColumnsOfEveryTypeInBlocks) {
  for (DType dtype : {DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::U8}) {
    SCOPED_TRACE(safetensors_name(dtype));
    const TensorView matrix = tensor_of(dtype, {24, 36}), vector = tensor_of(dtype, {24});
    for (int64_t block : {1, 2, 4, 12}) {
      const BlockOrder rows = shuffled(24 / block, block, 1), columns = shuffled(36 / block, block, 2);
      EXPECT_TRUE(streamed(matrix, &rows, nullptr) == expected(matrix, &rows, nullptr));
      EXPECT_TRUE(streamed(matrix, nullptr, &columns) == expected(matrix, nullptr, &columns));
      EXPECT_TRUE(streamed(vector, &rows, nullptr) == expected(vector, &rows, nullptr));
      EXPECT_FALSE(streamed(matrix, &rows, nullptr) == expected(matrix, nullptr, nullptr));
    }
    EXPECT_TRUE(streamed(matrix, nullptr, nullptr) == expected(matrix, nullptr, nullptr));
  }
}

TEST(Permute, TensorsLargerThanTheBuffer) {
  const TensorView wide = tensor_of(DType::BF16, {1200, 7001});  // two chunks of rows, each in parts
  const BlockOrder columns = shuffled(7001, 1, 3), rows = shuffled(1200, 1, 4);
  EXPECT_TRUE(streamed(wide, nullptr, &columns) == expected(wide, nullptr, &columns));
  EXPECT_TRUE(streamed(wide, &rows, nullptr) == expected(wide, &rows, nullptr));
  EXPECT_TRUE(streamed(wide, nullptr, nullptr) == expected(wide, nullptr, nullptr));
  const BlockOrder heads = shuffled(12, 100, 5);  // runs longer than a piece
  EXPECT_TRUE(streamed(wide, &heads, nullptr) == expected(wide, &heads, nullptr));
  const TensorView broad = tensor_of(DType::F32, {3, 3'000'000});  // a row is more than a chunk
  const BlockOrder halves{{1, 0}, 1'500'000};
  EXPECT_TRUE(streamed(broad, nullptr, &halves) == expected(broad, nullptr, &halves));
}

TEST(Permute, ShortRunsBetweenLongOnesKeepTheirTurn) {
  const TensorView tensor = tensor_of(DType::F16, {1000, 2000});
  BlockOrder rows{{5}, 1};  // one row, a run of 200 rows (800 kB), single rows backwards, and the rest
  for (int64_t row = 200; row < 400; ++row) rows.order.push_back(row);
  for (int64_t row = 199; row >= 0; --row)
    if (row != 5) rows.order.push_back(row);
  for (int64_t row = 400; row < 1000; ++row) rows.order.push_back(row);
  EXPECT_TRUE(streamed(tensor, &rows, nullptr) == expected(tensor, &rows, nullptr));
}

TEST(Permute, FromAFileByReading) {
  testing::TemporaryFolder folder;
  const TensorView memory = tensor_of(DType::F16, {3000, 2000});
  write_safetensors(folder / "m.safetensors",
                    {{"t", {DType::F16, memory.shape, {memory.bytes.begin(), memory.bytes.end()}}}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "m.safetensors");
  const BlockOrder columns = shuffled(2000, 1, 6), rows = shuffled(3000, 1, 7);
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(streamed(file.at("t"), nullptr, &columns) == expected(memory, nullptr, &columns));
    EXPECT_TRUE(streamed(file.at("t"), &rows, nullptr) == expected(memory, &rows, nullptr));
    EXPECT_TRUE(streamed(file.at("t"), nullptr, nullptr) == expected(memory, nullptr, nullptr));
  }
}

TEST(Permute, AnEmptyTensorHasNoBytes) {
  EXPECT_TRUE(streamed(tensor_of(DType::F32, {0, 4}), nullptr, nullptr).empty());
}

TEST(Permute, NaNIsNamedByItsPlaceInTheWholeTensor) {
  // In the second chunk of the straight way.
  std::vector<float> values(5'000'000, 1.0f);
  values[4'500'001] = std::numeric_limits<float>::quiet_NaN();
  const auto file = MappedFile::copy_of(std::as_bytes(std::span(values)), "memory");
  const TensorView tensor{DType::F32, {500, 10'000}, file->bytes(), file};
  EXPECT_USER_ERROR((void)streamed(tensor, nullptr, nullptr), "[450, 1]");
  const BlockOrder rows = shuffled(500, 1, 8);
  EXPECT_USER_ERROR((void)streamed(tensor, &rows, nullptr), "[450, 1]");
}

TEST(Permute, RefusesWhatIsNoPermutation) {
  const TensorView matrix = tensor_of(DType::F32, {4, 6});
  const BlockOrder twice{{0, 0, 1, 2}, 1}, few{{0, 1, 2}, 1}, outside{{0, 1, 2, 4}, 1}, swapped{{1, 0}, 2},
      columns{{1, 0}, 3};
  EXPECT_THROW((void)streamed(matrix, &twice, nullptr), InternalError);
  EXPECT_THROW((void)streamed(matrix, &few, nullptr), InternalError);
  EXPECT_THROW((void)streamed(matrix, &outside, nullptr), InternalError);
  EXPECT_THROW((void)streamed(matrix, &swapped, &columns), InternalError);
}

}  // namespace
}  // namespace yopo
