// __half in software: every operation is computed in fp32 and rounded once to nearest even.
#pragma once

#include "core/dtype.h"
#include "shim_math.h"

inline namespace cuda_shim_api {

struct __half_raw {
  unsigned short x;
};

struct __half {
  __half() = default;
  __half(float value) : bits_(yopo::fp16_of_float(value)) {}
  __half(double value) : __half(float(value)) {}
  __half(int value) : __half(float(value)) {}
  __half(unsigned value) : __half(float(value)) {}
  __half(__half_raw raw) : bits_(raw.x) {}
  operator float() const { return yopo::float_of_fp16(bits_); }
  operator __half_raw() const { return {bits_}; }

 private:
  unsigned short bits_;
};
using half = __half;

struct alignas(4) __half2 {
  __half x, y;
  __half2() = default;
  __half2(__half a, __half b) : x(a), y(b) {}
};
using half2 = __half2;

inline float __half2float(__half value) { return float(value); }
inline __half __float2half(float value) { return value; }
inline __half __float2half_rn(float value) { return value; }
inline unsigned short __half_as_ushort(__half value) { return __half_raw(value).x; }
inline __half __ushort_as_half(unsigned short bits) { return __half_raw{bits}; }

inline __half2 __floats2half2_rn(float a, float b) { return {a, b}; }
inline __half2 __float22half2_rn(float2 value) { return {value.x, value.y}; }
inline __half2 __float2half2_rn(float value) { return {value, value}; }
inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
inline __half2 __half2half2(__half value) { return {value, value}; }
inline float2 __half22float2(__half2 value) { return {float(value.x), float(value.y)}; }
inline float __low2float(__half2 value) { return value.x; }
inline float __high2float(__half2 value) { return value.y; }
inline __half __low2half(__half2 value) { return value.x; }
inline __half __high2half(__half2 value) { return value.y; }

#define SHIM_TYPE __half
#define SHIM_PAIR __half2
#include "shim_half_operators.h"
#undef SHIM_TYPE
#undef SHIM_PAIR

}  // namespace cuda_shim_api
