// Device code on the emulated CUDA machine: threads, barriers, warps, shared memory.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <numeric>

#include "core/error.h"
#include "tests/runtime/cuda_shim_fixture.h"
#include "tests/support/close.h"

namespace shim_test {
namespace {

using yopo::testing::close;

constexpr unsigned all_lanes = 0xffffffffu;

__device__ unsigned linear_thread() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
__device__ unsigned linear_block() { return blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z); }

__global__ void __launch_bounds__(1024) count_threads(int* counts) {
  const unsigned size = blockDim.x * blockDim.y * blockDim.z;
  atomicAdd(&counts[linear_block() * size + linear_thread()], 1);
}

TEST_F(CudaShim, EveryThreadOfEveryBlockRunsOnce) {
  for (const auto& [grid, block] :
       {std::pair{dim3(5), dim3(1)}, {dim3(3, 2, 4), dim3(33)}, {dim3(2, 3), dim3(4, 5, 6)}, {dim3(2), dim3(1024)}}) {
    const size_t count = size_t(grid.x) * grid.y * grid.z * block.x * block.y * block.z;
    int* counts = device<int>(count);
    ASSERT_EQ(cudaMemsetAsync(counts, 0, count * sizeof(int), stream), cudaSuccess);
    launch(count_threads, grid, block, 0, counts);
    EXPECT_EQ(downloaded(counts, count), std::vector<int>(count, 1));
  }
}

/// The usual reduction: shuffles in a warp, shared memory between warps. sums [blocks]; a block adds up its own
/// threads' rows.
__global__ void block_sums(const float* __restrict__ values, int count, float* __restrict__ sums) {
  __shared__ float warps[32];
  YOPO_DYNAMIC_SHARED(raw);
  float* const copies = reinterpret_cast<float*>(raw);  // [threads]
  const unsigned size = blockDim.x, at = blockIdx.x * size + threadIdx.x, lane = threadIdx.x % warpSize;
  copies[threadIdx.x] = int(at) < count ? __ldg(values + at) : 0.0f;
  __syncthreads();
  float sum = copies[size - 1 - threadIdx.x];  // another thread's
  for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(all_lanes, sum, apart);
  if (lane == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = lane < (size + 31) / 32 ? warps[lane] : 0.0f;
  for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_down_sync(all_lanes, sum, unsigned(apart));
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

TEST_F(CudaShim, ReductionsThroughWarpsAndSharedMemory) {
  for (const bool reverse : {false, true}) {
    shim::configure({.reverse_threads = reverse});
    for (const unsigned size : {32u, 64u, 96u, 256u, 1024u}) {
      std::vector<float> values(2500);
      std::iota(values.begin(), values.end(), 1.0f);
      const unsigned blocks = (2500 + size - 1) / size;
      std::vector<float> expected(blocks);
      for (size_t i = 0; i < values.size(); ++i) expected[i / size] += values[i];
      float* sums = device<float>(blocks);
      launch(block_sums, blocks, size, size * sizeof(float), uploaded(values), 2500, sums);
      EXPECT_TRUE(close(downloaded(sums, blocks), expected, 0)) << size;
    }
  }
}

/// Threads from `count` on return at once, whole warps and parts of one; the others go on to meet.
__global__ void some_return(unsigned count, int* out) {
  __shared__ int sum;
  if (threadIdx.x == 0) sum = 0;
  if (threadIdx.x >= count) return;
  __syncthreads();
  const int lanes = __popc(__ballot_sync(all_lanes, 1));
  if (threadIdx.x % 32 == 0) atomicAdd(&sum, lanes);
  __syncthreads();
  out[threadIdx.x] = sum;
}

TEST_F(CudaShim, ReturnedThreadsCountAsArrived) {
  for (const unsigned count : {1u, 31u, 40u, 64u, 100u}) {
    int* out = device<int>(count);
    launch(some_return, 1, 128, 0, count, out);
    EXPECT_EQ(downloaded(out, count), std::vector<int>(count, int(count)));
  }
}

/// The last to arrive returns instead: who waits is let go.
__global__ void one_returns_late(int* out) {
  if (threadIdx.x == 63) return;
  __syncthreads();
  __syncwarp();
  out[threadIdx.x] = 1;
}

TEST_F(CudaShim, AReturnLetsWaitingThreadsGo) {
  int* out = device<int>(63);
  launch(one_returns_late, 1, 64, 0, out);
  EXPECT_EQ(downloaded(out, 63), std::vector<int>(63, 1));
}

__global__ void predicates(int* out) {
  const int odd = int(threadIdx.x % 2);
  const int any = __syncthreads_or(threadIdx.x == 70), none = __syncthreads_or(0);
  const int all = __syncthreads_and(1), most = __syncthreads_and(threadIdx.x != 3);
  const int count = __syncthreads_count(odd);
  out[threadIdx.x] = (any != 0) + 2 * (none != 0) + 4 * (all != 0) + 8 * (most != 0) + 16 * count;
}

TEST_F(CudaShim, BarriersWithPredicates) {
  int* out = device<int>(96);
  launch(predicates, 1, 96, 0, out);
  EXPECT_EQ(downloaded(out, 96), std::vector<int>(96, 1 + 4 + 16 * 48));
}

template <typename T>
__global__ void shuffles(T* out, int operand, int width) {
  const T mine = T(threadIdx.x + 1);
  T* const row = out + 4 * threadIdx.x;
  row[0] = __shfl_sync(all_lanes, mine, operand, width);
  row[1] = __shfl_up_sync(all_lanes, mine, unsigned(operand), width);
  row[2] = __shfl_down_sync(all_lanes, mine, unsigned(operand), width);
  row[3] = __shfl_xor_sync(all_lanes, mine, operand, width);
}

template <typename T>
class CudaShimShuffle : public CudaShim {};
using ShuffledTypes =
    ::testing::Types<int, unsigned, long long, unsigned long long, float, double, __half, __nv_bfloat16>;
TYPED_TEST_SUITE(CudaShimShuffle, ShuffledTypes);

TYPED_TEST(CudaShimShuffle, AsProgrammingGuideSays) {
  for (const int width : {1, 2, 8, 16, 32})
    for (const int operand : {0, 1, 3, 7, 16, 31}) {
      TypeParam* out = this->template device<TypeParam>(64 * 4);
      this->launch(shuffles<TypeParam>, 1, 64, 0, out, operand, width);
      std::vector<double> actual, expected;
      for (const TypeParam value : this->downloaded(out, 64 * 4)) actual.push_back(double(value));
      for (int thread = 0; thread < 64; ++thread) {
        const int lane = thread % 32, segment = lane / width * width, warp = thread - lane + 1;
        const int other = lane ^ operand;
        expected.push_back(warp + segment + operand % width);
        expected.push_back(warp + (lane - operand >= segment ? lane - operand : lane));
        expected.push_back(warp + (lane + operand < segment + width ? lane + operand : lane));
        expected.push_back(warp + (other < segment + width ? other : lane));
      }
      EXPECT_TRUE(close(actual, expected, 0)) << "width " << width << ", operand " << operand;
    }
}

/// The halves of a warp, and then its odd lanes alone, reduce on their own in different numbers of steps.
__global__ void divergent(int* out) {
  const int lane = int(threadIdx.x % 32);
  int sum = lane;
  if (lane < 16) {
    for (int apart = 8; apart > 0; apart /= 2) sum += __shfl_xor_sync(0x0000ffffu, sum, apart);
  } else {
    for (int round = 0; round < 3; ++round) __syncwarp(0xffff0000u);
    sum = __any_sync(0xffff0000u, lane == 20) * 100 + __all_sync(0xffff0000u, lane > 16) * 10;
  }
  if (lane % 2 == 1) sum += __popc(__ballot_sync(0xaaaaaaaau, lane > 8)) * 1000;
  __syncwarp();
  out[threadIdx.x] = sum;
}

TEST_F(CudaShim, DivergentMasksMeetSeparately) {
  int* out = device<int>(64);
  launch(divergent, 1, 64, 0, out);
  std::vector<int> expected;
  for (int thread = 0; thread < 64; ++thread)
    expected.push_back((thread % 32 < 16 ? 120 : 100) + (thread % 2 == 1 ? 12000 : 0));
  EXPECT_EQ(downloaded(out, 64), expected);
}

__global__ void absent_source(float* out) {
  if (threadIdx.x >= 16) return;
  out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, int(threadIdx.x + 16));
}

TEST_F(CudaShim, AShuffleFromALaneThatIsNotThereGivesNothingUsable) {
  float* out = device<float>(16);
  launch(absent_source, 1, 32, 0, out);
  for (const float value : downloaded(out, 16)) EXPECT_TRUE(std::isnan(value));
}

// Kernels that can never end.
__global__ void barrier_and_warp() {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    __syncwarp();
}
__global__ void functions_disagree() {
  if (threadIdx.x >= 8) __shfl_sync(0xffffff00u, 1, 10);
  if (threadIdx.x < 8)
    __shfl_sync(all_lanes, 1, 0);
  else
    __ballot_sync(all_lanes, 1);
}
__global__ void two_barriers() {
  if (threadIdx.x % 2 == 0)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void two_kinds() { threadIdx.x == 5 ? __syncthreads_or(1) : __syncthreads_and(1); }
__global__ void outside_mask() { __syncwarp(0x0000ffffu); }
__global__ void wrong_width() { __shfl_sync(all_lanes, 1, 0, 12); }

TEST_F(CudaShim, WhatCanNeverEndIsAnError) {
  launch(barrier_and_warp, dim3(2, 3), 64, 0);
  const std::string text = thrown();
  EXPECT_NE(text.find("deadlock in kernel launch"), std::string::npos) << text;
  EXPECT_NE(text.find("<<<(2, 3, 1), (64, 1, 1), 0>>>, block (0, 0, 0)"), std::string::npos) << text;
  EXPECT_NE(text.find("threads 0-15 wait at the barrier at "), std::string::npos) << text;
  EXPECT_NE(text.find("threads 16-31 wait at __syncwarp with mask 0xffffffff"), std::string::npos) << text;
  EXPECT_NE(text.find("32 of 64 threads have returned"), std::string::npos) << text;

  launch(functions_disagree, 1, 32, 0);
  EXPECT_NE(thrown().find("threads 0-7 wait at __shfl_sync with mask 0xffffffff; threads 8-31 wait at a vote"),
            std::string::npos);
}

TEST_F(CudaShim, MisusedBarriersAreErrors) {
  launch(two_barriers, 1, 32, 0);
  EXPECT_NE(thrown().find("block (0, 0, 0), thread (1, 0, 0): comes to the barrier at"), std::string::npos);
  launch(two_kinds, 1, 32, 0);
  EXPECT_NE(thrown().find("thread (5, 0, 0): comes to the barrier at"), std::string::npos);
  launch(outside_mask, 1, 32, 0);
  EXPECT_NE(thrown().find("thread (16, 0, 0): a warp function whose mask does not name the calling lane"),
            std::string::npos);
  launch(wrong_width, 1, 32, 0);
  EXPECT_NE(thrown().find("thread (0, 0, 0): a shuffle's width"), std::string::npos);
}

int alive = 0;
struct Alive {
  Alive() { ++alive; }
  ~Alive() { --alive; }
};
__global__ void throws(unsigned culprit) {
  const Alive mark;
  __syncthreads();
  if (threadIdx.x == culprit) throw yopo::UserError("thrown on the device");
  __syncthreads();
}

TEST_F(CudaShim, AnExceptionEndsTheBlockAndReachesTheHost) {
  for (const unsigned culprit : {0u, 17u, 99u}) {
    launch(throws, 3, 100, 0, culprit);
    EXPECT_THROW(cudaStreamSynchronize(stream), yopo::UserError);
    EXPECT_EQ(alive, 0);
  }
  int* out = device<int>(63);  // and the next kernel is none the worse
  launch(one_returns_late, 1, 64, 0, out);
  EXPECT_EQ(downloaded(out, 63), std::vector<int>(63, 1));
}

__global__ void reads_before_writing(int* out) {
  YOPO_DYNAMIC_SHARED(raw);
  const float value = reinterpret_cast<const float*>(raw)[threadIdx.x];
  out[blockIdx.x * blockDim.x + threadIdx.x] = value != value;
  __syncthreads();
  reinterpret_cast<float*>(raw)[threadIdx.x] = 1.0f;
}

TEST_F(CudaShim, SharedMemoryOfEveryBlockBeginsAsNaN) {
  int* out = device<int>(size_t(3) * 64);
  launch(reads_before_writing, 3, 64, 64 * sizeof(float), out);
  EXPECT_EQ(downloaded(out, size_t(3) * 64), std::vector<int>(size_t(3) * 64, 1));
}

/// Forgets the barrier between writing and reading, at the beginning or after another barrier. values [64] are -1 at
/// first.
__global__ void races(int* values, int* out, bool after_barrier) {
  if (after_barrier) __syncthreads();
  values[threadIdx.x] = int(threadIdx.x);
  out[threadIdx.x] = values[63 - threadIdx.x];
}

TEST_F(CudaShim, TheOtherOrderOfThreadsShowsRaces) {
  int *values = device<int>(64), *out = device<int>(64);
  const auto run = [&](bool reverse, bool after_barrier) {
    shim::configure({.reverse_threads = reverse});
    EXPECT_EQ(cudaMemsetAsync(values, 0xff, 64 * sizeof(int), stream), cudaSuccess);
    launch(races, 1, 64, 0, values, out, after_barrier);
    return downloaded(out + 1, 62);  // the ends aside: the last to arrive at a barrier goes on first
  };
  for (const bool after_barrier : {false, true}) {
    const std::vector<int> forward = run(false, after_barrier);
    EXPECT_EQ(run(false, after_barrier), forward);
    EXPECT_NE(run(true, after_barrier), forward);
  }
}

TEST_F(CudaShim, SixteenBitTypes) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const __nv_bfloat16 b = __ushort_as_bfloat16(static_cast<unsigned short>(bits));
    const __half h = __ushort_as_half(static_cast<unsigned short>(bits));
    ASSERT_TRUE(__hisnan(b) || __bfloat16_as_ushort(__float2bfloat16(__bfloat162float(b))) == bits) << bits;
    ASSERT_TRUE(__hisnan(h) || __half_as_ushort(__float2half(__half2float(h))) == bits) << bits;
  }
  EXPECT_EQ(__half_as_ushort(__half(1.0f) + __half(0.00048828125f)), 0x3c00);  // 1 + 2^-11 ties to even
  EXPECT_EQ(__half_as_ushort(__half(65504.0f) * __half(2.0f)), 0x7c00);
  EXPECT_EQ(__bfloat16_as_ushort(__nv_bfloat16(1.0f) + __nv_bfloat16(0.00390625f)), 0x3f80);  // 1 + 2^-8 ties to even
  const float2 pair = __bfloat1622float2(__floats2bfloat162_rn(1.5f, -2.0f));
  EXPECT_EQ(pair.x, 1.5f);
  EXPECT_EQ(pair.y, -2.0f);
  EXPECT_EQ(__high2float(__floats2half2_rn(1.5f, -2.0f)), -2.0f);
  EXPECT_TRUE(std::isnan(__half2float(__float2half(NAN))) && std::isnan(__bfloat162float(__float2bfloat16(NAN))));
}

#if defined(__SANITIZE_ADDRESS__)
__global__ void past_dynamic() {
  YOPO_DYNAMIC_SHARED(raw);
  raw[threadIdx.x * 4] = 1;
}
__global__ void past_static(unsigned at, float* out) {
  __shared__ float values[31];
  values[at] = 1;
  out[0] = values[at];
}
__global__ void past_global(float* out) { out[threadIdx.x] = 1; }

TEST_F(CudaShim, TheSanitizerSeesWhatLiesPastTheEnd) {
  const auto run = [&](auto kernel, unsigned threads, size_t shared, auto... arguments) {
    launch(kernel, 1, threads, shared, arguments...);
    cudaStreamSynchronize(stream);
  };
  float* out = device<float>(31);
  run(past_dynamic, 16, 64 - 3);
  run(past_static, 1, 0, 30u, out);
  run(past_global, 31, 0, out);
  EXPECT_DEATH(run(past_dynamic, 17, 64), "heap-buffer-overflow");
  EXPECT_DEATH(run(past_static, 1, 0, 31u, out), "global-buffer-overflow|index 31 out of bounds");
  EXPECT_DEATH(run(past_global, 32, 0, out), "heap-buffer-overflow");
}
#endif

}  // namespace
}  // namespace shim_test
