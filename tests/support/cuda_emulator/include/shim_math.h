// Mathematical functions and intrinsics that CUDA has in the global namespace and the host's headers have not. The fast
// intrinsics (__expf, ...) are computed accurately: a device's are less exact, never more.
#pragma once

#include <math.h>

#include <bit>
#include <cstdint>

#include "shim_device.h"

// glibc declares functions of these names, so they cannot be overloaded.
#define __expf(x) (::shim::as_float(expf(x)))
#define __exp10f(x) (::shim::as_float(powf(10.0f, x)))
#define __logf(x) (::shim::as_float(logf(x)))
#define __log2f(x) (::shim::as_float(log2f(x)))
#define __log10f(x) (::shim::as_float(log10f(x)))
#define __sinf(x) (::shim::as_float(sinf(x)))
#define __cosf(x) (::shim::as_float(cosf(x)))
#define __tanf(x) (::shim::as_float(tanf(x)))
#define __powf(x, y) (::shim::as_float(powf(x, y)))

namespace shim {
inline constexpr float as_float(float x) { return x; }
}  // namespace shim

inline namespace cuda_shim_api {

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline float fdividef(float x, float y) { return x / y; }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return float(1.0 / sqrt(double(x))); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline int __float2int_rn(float x) { return int(lrintf(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(unsigned(x)); }
inline int __clzll(long long x) { return std::countl_zero((unsigned long long)(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(unsigned(x)) + 1; }
inline int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero((unsigned long long)(x)) + 1; }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((uint64_t(x) * y) >> 32); }

/// A load through the read-only cache: a plain load.
template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
T __ldcs(const T* address) {
  return *address;
}
template <typename T>
T __ldcg(const T* address) {
  return *address;
}
template <typename T>
void __stcs(T* address, T value) {
  *address = value;
}
template <typename T>
void __stcg(T* address, T value) {
  *address = value;
}

// CUDA's own set of overloads, so that what is ambiguous there is ambiguous here.
#define SHIM_MIN_MAX(first, second, result)        \
  inline constexpr result min(first a, second b) { \
    const auto x = static_cast<result>(a);         \
    const auto y = static_cast<result>(b);         \
    return x < y ? x : y;                          \
  }                                                \
  inline constexpr result max(first a, second b) { \
    const auto x = static_cast<result>(a);         \
    const auto y = static_cast<result>(b);         \
    return x > y ? x : y;                          \
  }
#define SHIM_MIN_MAX_INTEGERS(signed_type, unsigned_type)   \
  SHIM_MIN_MAX(signed_type, signed_type, signed_type)       \
  SHIM_MIN_MAX(unsigned_type, unsigned_type, unsigned_type) \
  SHIM_MIN_MAX(signed_type, unsigned_type, unsigned_type)   \
  SHIM_MIN_MAX(unsigned_type, signed_type, unsigned_type)
SHIM_MIN_MAX_INTEGERS(int, unsigned int)
SHIM_MIN_MAX_INTEGERS(long, unsigned long)
SHIM_MIN_MAX_INTEGERS(long long, unsigned long long)
#undef SHIM_MIN_MAX_INTEGERS
#undef SHIM_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }

}  // namespace cuda_shim_api
