#include "core/dtype.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace yopo {

namespace {

struct Row {
  DType dtype;
  size_t size;
  std::string_view safetensors, brief;
};
constexpr Row kRows[] = {
    {DType::F64, 8, "F64", "fp64"},   {DType::F32, 4, "F32", "fp32"},  {DType::F16, 2, "F16", "fp16"},
    {DType::BF16, 2, "BF16", "bf16"}, {DType::I64, 8, "I64", "int64"}, {DType::I32, 4, "I32", "int32"},
    {DType::I16, 2, "I16", "int16"},  {DType::I8, 1, "I8", "int8"},    {DType::U8, 1, "U8", "uint8"},
    {DType::Bool, 1, "BOOL", "bool"},
};

const Row& row_of(DType dtype) {
  for (const Row& row : kRows)
    if (row.dtype == dtype) return row;
  ensure(false, "dtype outside its enum");
  return kRows[0];
}

}  // namespace

size_t size_of(DType dtype) { return row_of(dtype).size; }
std::string_view safetensors_name(DType dtype) { return row_of(dtype).safetensors; }
std::string_view short_name(DType dtype) { return row_of(dtype).brief; }

DType dtype_from_safetensors(std::string_view name, std::string_view where) {
  std::vector<std::string> known;
  for (const Row& row : kRows) {
    if (row.safetensors == name) return row.dtype;
    known.emplace_back(row.safetensors);
  }
  fail("{}: dtype '{}' is not supported; expected one of {}", where, printable(name), fmt::join(known, ", "));
}

DType dtype_from_name(std::string_view name) {
  if (name == "fp32" || name == "float32") return DType::F32;
  if (name == "fp16" || name == "float16") return DType::F16;
  if (name == "bf16" || name == "bfloat16") return DType::BF16;
  fail("unknown dtype '{}'; expected fp32, fp16 or bf16{}", printable(name),
       did_you_mean(name, {"fp32", "fp16", "bf16", "float32", "float16", "bfloat16"}));
}

float float_of_fp16(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  uint32_t wide;
  if (exponent == 0x1f) {
    wide = sign | 0x7f800000u | (mantissa << 13);
  } else if (exponent != 0) {
    wide = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    // Subnormal: mantissa x 2^-24, exact in fp32.
    const float magnitude = float(mantissa) * 0x1p-24f;
    std::memcpy(&wide, &magnitude, 4);
    wide |= sign;
  }
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

uint16_t fp16_of_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint16_t sign = uint16_t((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  // 65520 is halfway between the largest finite value and the next step: it and all above round to infinity.
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);
  if (magnitude >= 0x38800000u) {
    const uint32_t rebased = magnitude - (112u << 23);
    return uint16_t(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
  }
  // Subnormal result: adding 0.5 puts the unit of the last place at 2^-24, and the FPU rounds to nearest even.
  float small;
  std::memcpy(&small, &magnitude, 4);
  small += 0.5f;
  uint32_t shifted;
  std::memcpy(&shifted, &small, 4);
  return uint16_t(sign | (shifted - 0x3f000000u));
}

void to_float(const void* source, DType dtype, size_t count, float* out) {
  if (count == 0) return;
  switch (dtype) {
    case DType::F32:
      std::memcpy(out, source, count * 4);
      return;
    case DType::F64: {
      const double* in = static_cast<const double*>(source);
      for (size_t i = 0; i < count; ++i) out[i] = float(in[i]);
      return;
    }
    case DType::BF16: {
      const uint16_t* in = static_cast<const uint16_t*>(source);
      for (size_t i = 0; i < count; ++i) out[i] = float_of_bf16(in[i]);
      return;
    }
    case DType::F16: {
      const uint16_t* in = static_cast<const uint16_t*>(source);
      for (size_t i = 0; i < count; ++i) out[i] = float_of_fp16(in[i]);
      return;
    }
    default:
      ensure(false, "to_float of a type that is not floating");
  }
}

void from_float(const float* source, size_t count, DType dtype, void* out) {
  if (count == 0) return;
  switch (dtype) {
    case DType::F32:
      std::memcpy(out, source, count * 4);
      return;
    case DType::F64: {
      double* to = static_cast<double*>(out);
      for (size_t i = 0; i < count; ++i) to[i] = source[i];
      return;
    }
    case DType::BF16: {
      uint16_t* to = static_cast<uint16_t*>(out);
      for (size_t i = 0; i < count; ++i) to[i] = bf16_of_float(source[i]);
      return;
    }
    case DType::F16: {
      uint16_t* to = static_cast<uint16_t*>(out);
      for (size_t i = 0; i < count; ++i) to[i] = fp16_of_float(source[i]);
      return;
    }
    default:
      ensure(false, "from_float into a type that is not floating");
  }
}

int64_t element_count(std::span<const int64_t> shape, std::string_view where) {
  constexpr int64_t kMost = int64_t(1) << 62;
  int64_t count = 1;
  for (const int64_t size : shape) {
    require(size >= 0, "{}: shape {} has a negative dimension", where, shape_string(shape));
    require(!__builtin_mul_overflow(count, size, &count) && count <= kMost, "{}: shape {} has more elements than fit",
            where, shape_string(shape));
  }
  return count;
}

std::string shape_string(std::span<const int64_t> shape) {
  constexpr size_t kMost = 16;  // hostile headers hold thousands of dimensions
  std::string out = fmt::format("[{}", fmt::join(shape.first(std::min(shape.size(), kMost)), ", "));
  return out + (shape.size() > kMost ? ", ...]" : "]");
}

}  // namespace yopo
