// Kernels for AVX-512 (F, BW, DQ, VL), whatever the flags this file is compiled with.
#include "runtime/cpu/kernels.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#endif
#define YOPO_KERNELS kernels_avx512
#define YOPO_NAME "avx512"
#define YOPO_WIDTH 16
#define YOPO_ROWS 6
#define YOPO_VECTORS 4
#include "runtime/cpu/kernels.inl"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
