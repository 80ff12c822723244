// CUDA's vector types and dim3, with CUDA's alignments.
#pragma once

// An inline namespace, so that a program may hold both the shim and code compiled against the real headers.
inline namespace cuda_shim_api {

#define SHIM_VECTOR_TYPES(element, name, align2, align4)                                         \
  struct name##1 {                                                                               \
    element x;                                                                                   \
  };                                                                                             \
  struct alignas(align2) name##2 {                                                               \
    element x, y;                                                                                \
  };                                                                                             \
  struct name##3 {                                                                               \
    element x, y, z;                                                                             \
  };                                                                                             \
  struct alignas(align4) name##4 {                                                               \
    element x, y, z, w;                                                                          \
  };                                                                                             \
  inline constexpr name##1 make_##name##1(element x) { return {x}; }                             \
  inline constexpr name##2 make_##name##2(element x, element y) { return {x, y}; }               \
  inline constexpr name##3 make_##name##3(element x, element y, element z) { return {x, y, z}; } \
  inline constexpr name##4 make_##name##4(element x, element y, element z, element w) { return {x, y, z, w}; }

SHIM_VECTOR_TYPES(signed char, char, 2, 4)
SHIM_VECTOR_TYPES(unsigned char, uchar, 2, 4)
SHIM_VECTOR_TYPES(short, short, 4, 8)
SHIM_VECTOR_TYPES(unsigned short, ushort, 4, 8)
SHIM_VECTOR_TYPES(int, int, 8, 16)
SHIM_VECTOR_TYPES(unsigned int, uint, 8, 16)
SHIM_VECTOR_TYPES(long long, longlong, 16, 16)
SHIM_VECTOR_TYPES(unsigned long long, ulonglong, 16, 16)
SHIM_VECTOR_TYPES(float, float, 8, 16)
SHIM_VECTOR_TYPES(double, double, 16, 16)
#undef SHIM_VECTOR_TYPES

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

}  // namespace cuda_shim_api
