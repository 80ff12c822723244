#include "core/dtype.h"

#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

TEST(DType, NamesAndSizes) {
  for (const DType dtype : {DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::I16,
                            DType::I8, DType::U8, DType::Bool})
    EXPECT_EQ(dtype_from_safetensors(safetensors_name(dtype), "x"), dtype);
  EXPECT_EQ(size_of(DType::F64), 8u);
  EXPECT_EQ(size_of(DType::BF16), 2u);
  EXPECT_EQ(size_of(DType::Bool), 1u);
  EXPECT_EQ(dtype_from_name("bfloat16"), DType::BF16);
  EXPECT_EQ(dtype_from_name("fp16"), DType::F16);
  EXPECT_EQ(short_name(DType::F32), "fp32");
  EXPECT_USER_ERROR(dtype_from_safetensors("F8_E4M3", "a.safetensors: tensor 'w'"), "tensor 'w': dtype 'F8_E4M3'");
  EXPECT_USER_ERROR(dtype_from_name("bf61"), "did you mean 'bf16'?");
}

/// Every finite half as the definition of the format gives it.
double half_by_definition(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const double mantissa = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

TEST(DType, EveryHalfReadsAndWritesBack) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = float_of_fp16(uint16_t(bits));
    const bool special = ((bits >> 10) & 31) == 31;
    if (!special) {
      ASSERT_EQ(double(value), half_by_definition(uint16_t(bits))) << bits;
      ASSERT_EQ(std::signbit(value), bits >= 0x8000) << bits;
      ASSERT_EQ(fp16_of_float(value), bits);
    } else if ((bits & 1023) == 0) {
      ASSERT_TRUE(std::isinf(value)) << bits;
      ASSERT_EQ(fp16_of_float(value), bits);
    } else {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(float_of_fp16(fp16_of_float(value)))) << bits;
    }
  }
}

/// Between each two neighbouring halves: the middle goes to the even one, either side of it to the nearer.
TEST(DType, HalfRoundsToNearestEven) {
  for (uint16_t bits = 0; bits < 0x7bff; ++bits) {
    const float low = float_of_fp16(bits), high = float_of_fp16(uint16_t(bits + 1));
    const float middle = (low + high) / 2;
    ASSERT_EQ(fp16_of_float(middle), bits % 2 == 0 ? bits : bits + 1) << bits;
    ASSERT_EQ(fp16_of_float(std::nextafter(middle, low)), bits);
    ASSERT_EQ(fp16_of_float(std::nextafter(middle, high)), bits + 1);
    ASSERT_EQ(fp16_of_float(-middle), (bits % 2 == 0 ? bits : bits + 1) | 0x8000);
  }
  EXPECT_EQ(fp16_of_float(65519.996f), 0x7bff);
  EXPECT_EQ(fp16_of_float(65520.0f), 0x7c00);
  EXPECT_EQ(fp16_of_float(1e30f), 0x7c00);
  EXPECT_EQ(fp16_of_float(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(DType, Bf16RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const uint32_t wide = bits << 16;
    ASSERT_EQ(bf16_of_float(std::bit_cast<float>(wide)), bits);
    ASSERT_EQ(bf16_of_float(std::bit_cast<float>(wide | 0x8000u)), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(bf16_of_float(std::bit_cast<float>(wide | 0x7fffu)), bits);
    ASSERT_EQ(bf16_of_float(std::bit_cast<float>(wide | 0x8001u)), bits + 1);
  }
  // A NaN whose payload lies in the dropped half must not become infinity.
  EXPECT_TRUE(std::isnan(float_of_bf16(bf16_of_float(std::bit_cast<float>(0x7f800001u)))));
}

TEST(DType, ArraysConvertThereAndBack) {
  const std::vector<float> values{0, -1.5f, 3.25f, 1024, -0.0078125f};
  for (const DType dtype : {DType::F64, DType::F32, DType::F16, DType::BF16}) {
    std::vector<uint64_t> storage(values.size());  // aligned for every type
    std::vector<float> back(values.size());
    from_float(values.data(), values.size(), dtype, storage.data());
    to_float(storage.data(), dtype, values.size(), back.data());
    EXPECT_TRUE(testing::close(back, values, 0)) << safetensors_name(dtype);
  }
  float out;
  EXPECT_THROW(to_float(&out, DType::I32, 1, &out), InternalError);
  EXPECT_NO_THROW(to_float(nullptr, DType::BF16, 0, nullptr));
}

TEST(DType, ElementCountChecksOverflow) {
  EXPECT_EQ(element_count(std::vector<int64_t>{2, 3, 4}, "x"), 24);
  EXPECT_EQ(element_count(std::vector<int64_t>{}, "x"), 1);
  EXPECT_EQ(element_count(std::vector<int64_t>{5, 0}, "x"), 0);
  EXPECT_USER_ERROR(element_count(std::vector<int64_t>{2, -3}, "file: w"), "file: w: shape [2, -3]");
  EXPECT_USER_ERROR(element_count(std::vector<int64_t>{int64_t(1) << 40, int64_t(1) << 40}, "file"), "more elements");
  EXPECT_USER_ERROR(element_count(std::vector<int64_t>{int64_t(1) << 62, 3}, "file"), "more elements");
}

TEST(DType, ShapeString) {
  EXPECT_EQ(shape_string(std::vector<int64_t>{2, 3}), "[2, 3]");
  EXPECT_EQ(shape_string(std::vector<int64_t>{}), "[]");
  EXPECT_TRUE(shape_string(std::vector<int64_t>(1000, 1)).ends_with("1, ...]"));
}

}  // namespace
}  // namespace yopo
