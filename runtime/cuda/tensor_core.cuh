// The warp-wide matrix instructions of sm_80 and later. They and not nvcuda::wmma, because their layouts over the
// lanes are documented (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", "ldmatrix"): scores can
// stay in registers from the first product through the softmax into the second. Over the shim the same layouts are
// spelled out.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "core/error.h"
#include "runtime/cuda/async_copies.cuh"

namespace yopo::runtime::YOPO_CUDA_SPACE {

#if defined(YOPO_CUDA_SHIM)

inline uint16_t bits_of(__half, float value) { return fp16_of_float(value); }
inline uint16_t bits_of(__nv_bfloat16, float value) { return bf16_of_float(value); }
inline float value_of(__half, uint16_t bits) { return float_of_fp16(bits); }
inline float value_of(__nv_bfloat16, uint16_t bits) { return float_of_bf16(bits); }

/// Two values as T, the first in the lower half.
template <typename T>
uint32_t pack(float low, float high) {
  return bits_of(T(), low) | uint32_t(bits_of(T(), high)) << 16;
}

/// Four 8 x 8 matrices of 16-bit elements: lane 8 i + r gives the address of row r of matrix i, 16 bytes, aligned;
/// register i becomes elements (lane / 4, 2 (lane % 4) + {0, 1}) of matrix i.
inline void load_matrices(uint32_t (&registers)[4], const void* row) {
  ensure(uintptr_t(row) % 16 == 0, "an unaligned matrix row");
  const unsigned lane = threadIdx.x % warp_size;
  for (unsigned i = 0; i < 4; ++i) {
    const auto address = __shfl_sync(0xffffffffu, (unsigned long long)(uintptr_t(row)), int(8 * i + lane / 4));
    std::memcpy(&registers[i], reinterpret_cast<const char*>(uintptr_t(address)) + lane % 4 * 4, 4);
  }
}

/// As load_matrices, but register i becomes elements (2 (lane % 4) + {0, 1}, lane / 4) of matrix i.
inline void load_matrices_transposed(uint32_t (&registers)[4], const void* row) {
  ensure(uintptr_t(row) % 16 == 0, "an unaligned matrix row");
  const unsigned lane = threadIdx.x % warp_size;
  for (unsigned i = 0; i < 4; ++i) {
    uint16_t halves[2];
    for (unsigned half = 0; half < 2; ++half) {
      const auto address =
          __shfl_sync(0xffffffffu, (unsigned long long)(uintptr_t(row)), int(8 * i + lane % 4 * 2 + half));
      std::memcpy(&halves[half], reinterpret_cast<const char*>(uintptr_t(address)) + lane / 4 * 2, 2);
    }
    registers[i] = halves[0] | uint32_t(halves[1]) << 16;
  }
}

/// sum [16, 8] += a [16, 16] x b [16, 8]. With g = lane / 4 and t = lane % 4: sum[i] is element (g + 8 (i / 2), 2 t + i
/// % 2); a[i] holds (g + 8 (i % 2), 2 t + 8 (i / 2) + {0, 1}); b[i] holds (2 t + 8 i + {0, 1}, g).
template <typename T>
void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  // One exchange of all operands; the second buffer is filled while slow lanes still read the first.
  struct Exchange {
    float a[16][16], b[8][16];
  };
  __shared__ Exchange exchange[32][2];  // at most 32 warps
  __shared__ unsigned turn[32][warp_size];
  const unsigned lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, g = lane / 4, t = lane % 4;
  Exchange& shared = exchange[warp][turn[warp][lane]++ % 2];
  for (unsigned half = 0; half < 2; ++half) {
    for (unsigned i = 0; i < 4; ++i)
      shared.a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + half] = value_of(T(), uint16_t(a[i] >> (16 * half)));
    shared.b[g][2 * t + half] = value_of(T(), uint16_t(b0 >> (16 * half)));
    shared.b[g][2 * t + 8 + half] = value_of(T(), uint16_t(b1 >> (16 * half)));
  }
  __syncwarp();
  for (unsigned i = 0; i < 4; ++i) {
    const float *left = shared.a[g + 8 * (i / 2)], *right = shared.b[2 * t + i % 2];
    for (unsigned k = 0; k < 16; ++k) sum[i] += left[k] * right[k];
  }
}

#else

template <typename T>
__device__ __forceinline__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<__half>(float low, float high) {
  const __half2 both = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(both);
}
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(both);
}

__device__ __forceinline__ void load_matrices(uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&registers)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
}

template <typename T>
__device__ __forceinline__ void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void multiply_add<__half>(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                                     uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply_add<__nv_bfloat16>(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                                            uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
