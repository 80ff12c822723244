// Flash attention of one tile of query rows by one block of threads: keys pass by in tiles, the softmax is kept online
// (Milakov, Gimelshein 2018; Dao et al. 2022), only the output leaves the block. What prefill_attention and
// full_attention share: the loop over key tiles, and the two kinds of query tiles (tensor cores for 16-bit types, plain
// fp32).
#pragma once

#include <cmath>
#include <cstdint>

#include "core/dtype.h"
#include "core/error.h"
#include "runtime/cuda/attention_tile_f32.cuh"
#include "runtime/cuda/attention_tile_mma.cuh"
#include "runtime/cuda/context.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {

/// Lets a query tile read all that `keys` leads to, a cursor over key tiles:
///   int count() const                   keys in the tile it is at; <= 0 past the last tile
///   void advance()                      to the next tile
///   const Element* keys() const, values() const; int64_t stride() const
///   void prepare()                      writes to shared memory what its masks need; a barrier comes before the masks
///   bool whole() const                  no row of the query tile is masked anywhere in the key tile
///   bool reads(first, last) const       whether any of these rows of the query tile may read any of its keys
///   Mask mask(row) const                bool operator()(int key) const: row reads key `key` of the tile
/// Key and value tiles have a buffer each: while scores are computed the values are on their way, and while values are
/// weighed the next keys.
template <class Tile, class Keys>
__device__ __forceinline__ void attend(Tile& tile, Keys& keys, int head_dim) {
  if (keys.count() > 0) {
    tile.load_keys(keys.keys(), keys.stride(), keys.count(), head_dim);
    keys.prepare();
  }
  while (keys.count() > 0) {
    const bool reads = keys.reads(tile.first_row(), tile.last_row());
    tile.wait();
    __syncthreads();
    tile.load_values(keys.values(), keys.stride(), keys.count(), head_dim);
    if (reads) {
      tile.score();
      if (!keys.whole()) tile.mask([&](int row) { return keys.mask(row); });
      tile.soften();
    }
    tile.wait();
    __syncthreads();
    keys.advance();
    if (keys.count() > 0) {
      tile.load_keys(keys.keys(), keys.stride(), keys.count(), head_dim);
      keys.prepare();
    }
    if (reads) tile.weigh();
  }
}

/// Sum over the block's threads, in thread 0. `shared` [warps]; contains a barrier.
__device__ __forceinline__ unsigned long long sum_over_block(unsigned long long value, unsigned long long* shared) {
  for (int distance = warp_size / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  if (threadIdx.x % warp_size == 0) shared[threadIdx.x / warp_size] = value;
  __syncthreads();
  if (threadIdx.x == 0)
    for (unsigned warp = 1; warp < blockDim.x / warp_size; ++warp) value += shared[warp];
  return value;
}

/// Calls use.operator()<Tile>() with the tile for this type and head_dim: the smallest width that holds it.
template <typename Use>
void with_tile(DType type, int64_t head_dim, Use use) {
  ensure(head_dim >= 8 && head_dim <= 256 && head_dim % 8 == 0, "attention takes multiples of 8 up to 256 as head_dim");
  const auto with_type = [&]<typename T>() {
    if (head_dim <= 64) return use.template operator()<MmaTile<T, 64, 64>>();
    if (head_dim <= 80) return use.template operator()<MmaTile<T, 80, 64>>();
    if (head_dim <= 96) return use.template operator()<MmaTile<T, 96, 64>>();
    if (head_dim <= 128) {
      // A multiprocessor with room for one such block only (sm_86, sm_89) does better with two smaller ones.
      const bool large = 2 * sizeof(typename MmaTile<T, 128, 64>::Shared) < device().shared_bytes_per_block;
      if (large) return use.template operator()<MmaTile<T, 128, 64>>();
      return use.template operator()<MmaTile<T, 128, 32>>();
    }
    return use.template operator()<MmaTile<T, 256, 32>>();
  };
  switch (type) {
    case DType::BF16:
      return with_type.template operator()<__nv_bfloat16>();
    case DType::F16:
      return with_type.template operator()<__half>();
    case DType::F32:
      if (head_dim <= 64) return use.template operator()<F32Tile<64>>();
      if (head_dim <= 128) return use.template operator()<F32Tile<128>>();
      return use.template operator()<F32Tile<256>>();
    default:
      ensure(false, "attention takes fp32, bf16 and fp16");
  }
}

/// What 16-byte copies need of a row's pointer.
inline bool aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
