// What device code sees of a block: its position, barriers, shuffles and votes. A block's threads are fibers of one
// host thread (block.h); the functions here are where one of them waits for others.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <source_location>

#include "vector_types.h"

#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// Blocks run one after another, so one copy is enough; not thread_local, so that AddressSanitizer guards it (in kernels
// with internal linkage: variables that the linker merges are not guarded).
#define __shared__ static

namespace shim {

/// Where the running device thread is. Written by the scheduler only.
struct Position {
  uint3 thread;
  unsigned linear;  // of the thread in its block
  uint3 block;
  dim3 block_size, grid_size;
};
extern Position position;

/// Something that the lanes of a warp do together: the last lane to arrive runs `complete` for all. lanes [32]: what
/// each lane brought, null for lanes that take no part or have returned.
struct Collective {
  const char* name;
  void (*complete)(void* const* lanes);
};

/// Waits until every living lane of `mask` is at the same collective with the same mask.
void meet(const Collective& collective, unsigned mask, void* argument);

enum class BlockSync { plain, any, all, count };
/// Waits until every living thread of the block is here.
int sync_block(BlockSync kind, int predicate, const std::source_location& where);

/// Lanes of the running warp that have not returned.
unsigned living_lanes();

/// Throws InternalError naming the launch, the block and the thread.
[[noreturn]] void device_error(const char* what);

inline unsigned lane() { return position.linear % 32; }

enum class ShuffleKind { index, up, down, exclusive };
/// Which lane a shuffle reads (PTX ISA, shfl.sync): sources outside the own segment of `width` lanes mean the own lane.
unsigned shuffle_source(ShuffleKind kind, unsigned operand, int width);
/// The 8 bytes that lane `source` brought; bytes of ones where that lane takes no part (undefined on a device).
uint64_t exchange(ShuffleKind kind, unsigned mask, uint64_t value, unsigned source);
unsigned ballot(unsigned mask, bool predicate);

template <typename T>
concept Shuffled = std::integral<T> || std::floating_point<T>;

template <typename T>
T shuffle(ShuffleKind kind, unsigned mask, T value, unsigned operand, int width) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(kind, mask, bits, shuffle_source(kind, operand, width));
  std::memcpy(static_cast<void*>(&value), &bits, sizeof(T));
  return value;
}

}  // namespace shim

inline namespace cuda_shim_api {

inline constexpr const uint3& threadIdx = shim::position.thread;
inline constexpr const uint3& blockIdx = shim::position.block;
inline constexpr const dim3& blockDim = shim::position.block_size;
inline constexpr const dim3& gridDim = shim::position.grid_size;
inline constexpr int warpSize = 32;

inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  shim::sync_block(shim::BlockSync::plain, 0, where);
}
inline int __syncthreads_or(int predicate, const std::source_location& where = std::source_location::current()) {
  return shim::sync_block(shim::BlockSync::any, predicate, where);
}
inline int __syncthreads_and(int predicate, const std::source_location& where = std::source_location::current()) {
  return shim::sync_block(shim::BlockSync::all, predicate, where);
}
inline int __syncthreads_count(int predicate, const std::source_location& where = std::source_location::current()) {
  return shim::sync_block(shim::BlockSync::count, predicate, where);
}
void __syncwarp(unsigned mask = 0xffffffffu);
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
[[noreturn]] inline void __trap() { shim::device_error("__trap"); }

template <shim::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return shim::shuffle(shim::ShuffleKind::index, mask, value, unsigned(source), width);
}
template <shim::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return shim::shuffle(shim::ShuffleKind::up, mask, value, delta, width);
}
template <shim::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return shim::shuffle(shim::ShuffleKind::down, mask, value, delta, width);
}
template <shim::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  return shim::shuffle(shim::ShuffleKind::exclusive, mask, value, unsigned(lanes), width);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) { return shim::ballot(mask, predicate != 0); }
inline int __any_sync(unsigned mask, int predicate) { return shim::ballot(mask, predicate != 0) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return shim::ballot(mask, predicate == 0) == 0; }
/// Lanes that have not returned: which of them run together just now is the device's affair, and no mask to synchronise
/// on.
inline unsigned __activemask() { return shim::living_lanes(); }

}  // namespace cuda_shim_api
