// Kernels for AVX2 and FMA, whatever the flags this file is compiled with.
#include "runtime/cpu/kernels.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define YOPO_KERNELS kernels_avx2
#define YOPO_NAME "avx2"
#define YOPO_WIDTH 8
#define YOPO_ROWS 4
#define YOPO_VECTORS 2
#include "runtime/cpu/kernels.inl"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
