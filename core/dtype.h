// Element types of tensors and the scalar conversions between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace yopo {

enum class DType { F64, F32, F16, BF16, I64, I32, I16, I8, U8, Bool };

/// Bytes of one element.
size_t size_of(DType dtype);

/// The name as safetensors writes it: "F32", "BF16", "BOOL", ...
std::string_view safetensors_name(DType dtype);

/// Parses a safetensors name; UserError naming `where` for one that is not supported.
DType dtype_from_safetensors(std::string_view name, std::string_view where);

/// The name as recipes and the command line write it: "fp32", "fp16", "bf16".
std::string_view short_name(DType dtype);

/// Parses "fp32" | "float32" | "fp16" | "float16" | "bf16" | "bfloat16"; UserError otherwise.
DType dtype_from_name(std::string_view name);

inline float float_of_bf16(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, 4);
  return value;
}
/// Rounds to nearest even; NaN stays NaN.
inline uint16_t bf16_of_float(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
float float_of_fp16(uint16_t bits);
uint16_t fp16_of_float(float value);

/// Converts `count` elements of any floating type into fp32.
void to_float(const void* source, DType dtype, size_t count, float* out);
/// Converts `count` fp32 elements into a floating type, rounding to nearest even.
void from_float(const float* source, size_t count, DType dtype, void* out);

/// Product of the dimensions; UserError naming `where` if negative or past 2^62.
int64_t element_count(std::span<const int64_t> shape, std::string_view where);

/// "[2, 3]".
std::string shape_string(std::span<const int64_t> shape);

}  // namespace yopo
