// The host's side of the emulated CUDA machine: devices, memory, streams, events, recorded graphs, errors.
#include <cmath>
#include <numeric>
#include <thread>

#include "core/error.h"
#include "tests/runtime/cuda_shim_fixture.h"

namespace shim_test {
namespace {

__global__ void add(float* values, int count, float what) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) values[i] += what;
}
__global__ void copy(float* to, const float* from) { to[threadIdx.x] = from[threadIdx.x]; }
__global__ void nothing() {}
__global__ void fails() { throw yopo::InternalError("this kernel fails"); }

bool contains(const char* text, const std::string& part) { return std::string(text).find(part) != std::string::npos; }

TEST_F(CudaShim, MachinesThatCannotBeUsed) {
  int count = 7, driver = 0;
  shim::configure({.device_count = 0});
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(count, 0);
  EXPECT_EQ(cudaSetDevice(0), cudaErrorNoDevice);
  void* data = nullptr;
  EXPECT_EQ(cudaMalloc(&data, 16), cudaErrorNoDevice);
  for (const int version : {0, 12080}) {
    shim::configure({.driver_version = version});
    EXPECT_EQ(cudaDriverGetVersion(&driver), cudaSuccess);
    EXPECT_EQ(driver, version);
    EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    EXPECT_EQ(cudaMalloc(&data, 16), cudaErrorInsufficientDriver);
  }
  shim::configure({.major = 7, .minor = 0});
  cudaGetLastError();
  shim::launch(nothing, 1, 1, 0, stream);
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorNoKernelImageForDevice);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNoKernelImageForDevice);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorNoKernelImageForDevice), "cudaErrorNoKernelImageForDevice");
  EXPECT_TRUE(contains(cudaGetErrorString(cudaErrorNoKernelImageForDevice), "no kernel image is available"));
}

TEST_F(CudaShim, WhatTheDeviceIs) {
  shim::configure(
      {.device_count = 2, .major = 9, .minor = 1, .total_bytes = 1000, .name = "A name", .multiprocessors = 5});
  int count = 0, device = -1, value = 0;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 2);
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
  EXPECT_EQ(device, 0);
  // A stream is its device's, and a device a thread's.
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
  EXPECT_EQ(device, 1);
  shim::launch(nothing, 1, 1, 0, stream);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle);
  std::thread([&] {
    EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
    EXPECT_EQ(device, 0);
  }).join();
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  cudaDeviceProp properties;
  ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_STREQ(properties.name, "A name");
  EXPECT_EQ(properties.major * 10 + properties.minor, 91);
  EXPECT_EQ(properties.totalGlobalMem, 1000u);
  EXPECT_EQ(properties.multiProcessorCount, 5);
  EXPECT_EQ(properties.sharedMemPerBlock, 48u << 10);
  EXPECT_EQ(properties.sharedMemPerBlockOptin, 163u << 10);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0), cudaSuccess);
  EXPECT_EQ(value, 9);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 2), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaDeviceGetAttribute(&value, cudaDeviceAttr(9999), 0), cudaErrorInvalidValue);
  int version = 0;
  EXPECT_EQ(cudaRuntimeGetVersion(&version), cudaSuccess);
  EXPECT_EQ(version, CUDART_VERSION);
}

TEST_F(CudaShim, LaunchesThatTheDeviceRefuses) {
  const auto status = [&](dim3 grid, dim3 block, size_t shared) {
    cudaGetLastError();
    shim::launch(nothing, grid, block, shared, stream);
    return cudaGetLastError();
  };
  EXPECT_EQ(status(1, 1024, 48 << 10), cudaSuccess);
  EXPECT_EQ(status(1, 1025, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status(1, dim3(32, 33), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status(1, dim3(1, 1, 65), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status(0, 1, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status(dim3(1, 65536), 1, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status(1, 1, (48 << 10) + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, (163 << 10) + 1),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10), cudaSuccess);
  EXPECT_EQ(status(1, 1, 100 << 10), cudaSuccess);
  EXPECT_EQ(status(1, 1, (100 << 10) + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 48 << 10), cudaSuccess);
  shim::launch(nothing, 1, 1, 0, reinterpret_cast<cudaStream_t>(this));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle);
}

TEST_F(CudaShim, WorkWaitsUntilSomebodyWaitsForIt) {
  float *values = device<float>(4), *late = pinned<float>(4), *results = pinned<float>(4);
  std::fill_n(late, 4, 1.0f);
  std::fill_n(results, 4, 0.0f);
  std::vector<float> pageable(4, 5.0f);
  const auto before = shim::launches();
  ASSERT_EQ(cudaMemcpyAsync(values, late, 16, cudaMemcpyHostToDevice, stream), cudaSuccess);
  launch(add, 1, 4, 0, values, 4, 10.0f);
  ASSERT_EQ(cudaMemcpyAsync(results, values, 16, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  late[0] = 2;  // too early
  EXPECT_EQ(results[0], 0);
  EXPECT_EQ(shim::launches(), before);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(shim::launches(), before + 1);
  EXPECT_EQ(results[0], 12);
  EXPECT_EQ(results[3], 11);

  ASSERT_EQ(cudaMemcpyAsync(values, pageable.data(), 16, cudaMemcpyHostToDevice, stream), cudaSuccess);
  pageable[0] = 99;  // may be reused at once
  ASSERT_EQ(cudaMemcpyAsync(pageable.data() + 1, values, 8, cudaMemcpyDefault, stream), cudaSuccess);
  EXPECT_EQ(pageable, (std::vector<float>{99, 5, 5, 5}));  // a copy to pageable memory waits
}

TEST_F(CudaShim, ALongQueueRunsByItself) {
  const auto before = shim::launches();
  for (int i = 0; i < 2000; ++i) launch(nothing, 1, 1, 0);
  EXPECT_GT(shim::launches(), before + 1000);
  EXPECT_LT(shim::launches(), before + 2000);
  EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
  while (cudaStreamQuery(stream) == cudaErrorNotReady) continue;
  EXPECT_EQ(shim::launches(), before + 2000);
}

TEST_F(CudaShim, SynchronousCopiesWaitForBlockingStreamsOnly) {
  cudaStream_t blocking = nullptr;
  ASSERT_EQ(cudaStreamCreate(&blocking), cudaSuccess);
  float *first = uploaded(std::vector<float>{0}), *second = uploaded(std::vector<float>{0}), value = 0;
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  shim::launch(add, 1, 1, 0, blocking, first, 1, 1.0f);
  launch(add, 1, 1, 0, second, 1, 1.0f);
  ASSERT_EQ(cudaMemcpy(&value, first, 4, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(value, 1);
  ASSERT_EQ(cudaMemcpy(&value, second, 4, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(value, 0);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  ASSERT_EQ(cudaMemcpy(&value, second, 4, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(value, 1);
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaErrorInvalidResourceHandle);
}

TEST_F(CudaShim, EventsOrderStreams) {
  cudaStream_t other = nullptr;
  cudaEvent_t ready = nullptr, end = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&ready), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&end, cudaEventDisableTiming), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(ready), cudaSuccess);  // never recorded
  EXPECT_EQ(cudaEventSynchronize(ready), cudaSuccess);
  float *values = uploaded(std::vector<float>{1}), *result = pinned<float>(2);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  launch(add, 1, 1, 0, values, 1, 1.0f);
  ASSERT_EQ(cudaEventRecord(ready, stream), cudaSuccess);
  launch(add, 1, 1, 0, values, 1, 10.0f);
  ASSERT_EQ(cudaStreamWaitEvent(other, ready), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(result, values, 4, cudaMemcpyDeviceToHost, other), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(end, other), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(end), cudaErrorNotReady);
  ASSERT_EQ(cudaEventSynchronize(end), cudaSuccess);
  EXPECT_EQ(result[0], 2);  // after the first, before the second
  EXPECT_EQ(cudaEventQuery(ready), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, ready, end), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, ready, ready), cudaSuccess);
  EXPECT_EQ(milliseconds, 0);
  EXPECT_EQ(cudaEventDestroy(ready), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(ready), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaEventDestroy(end), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(other), cudaSuccess);
}

TEST_F(CudaShim, MemoryHasALimit) {
  const size_t held = shim::live_bytes();
  shim::configure({.total_bytes = held + 1000});
  void *first = nullptr, *second = nullptr;
  ASSERT_EQ(cudaMalloc(&first, 600), cudaSuccess);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 256, 0u);
  EXPECT_EQ(cudaMalloc(&second, 401), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  size_t free = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, 400u);
  EXPECT_EQ(total, held + 1000);
  ASSERT_EQ(cudaFreeAsync(first, stream), cudaSuccess);
  EXPECT_EQ(shim::live_bytes(), held + 600);
  ASSERT_EQ(cudaMallocAsync(&second, 1000, stream), cudaSuccess);  // waits for the free
  EXPECT_EQ(shim::live_bytes(), held + 1000);
  ASSERT_EQ(cudaFree(second), cudaSuccess);
  EXPECT_EQ(shim::live_bytes(), held);
  ASSERT_EQ(cudaMalloc(&first, 0), cudaSuccess);
  EXPECT_EQ(first, nullptr);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
}

TEST_F(CudaShim, FreshMemoryIsNaN) {
  for (const float value : downloaded(device<float>(3), 3)) EXPECT_TRUE(std::isnan(value));
}

TEST_F(CudaShim, MemoryPools) {
  cudaMemPool_t pool = nullptr;
  ASSERT_EQ(cudaDeviceGetDefaultMemPool(&pool, 0), cudaSuccess);
  uint64_t threshold = UINT64_MAX, used = 0;
  EXPECT_EQ(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold), cudaSuccess);
  EXPECT_EQ(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), cudaSuccess);
  EXPECT_EQ(used, shim::live_bytes());
  EXPECT_EQ(cudaMemPoolTrimTo(pool, 0), cudaSuccess);
}

TEST_F(CudaShim, MistakesWithMemoryAreErrorsWithAReason) {
  float *data = device<float>(8), *other = device<float>(8), host[8] = {};
  const auto refused = [](cudaError_t status, const std::string& reason) {
    EXPECT_EQ(status, cudaErrorInvalidValue);
    EXPECT_TRUE(contains(cudaGetErrorString(cudaErrorInvalidValue), reason))
        << cudaGetErrorString(cudaErrorInvalidValue);
    EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  };
  refused(cudaFree(host), "not the start of an allocation");
  refused(cudaFree(data + 1), "not the start of an allocation");
  refused(cudaFreeHost(data), "as pinned memory, but it is device memory");
  refused(cudaMemcpy(data, host, 36, cudaMemcpyHostToDevice), "byte 0 of an allocation of 32 bytes, so 36 end past it");
  refused(cudaMemcpy(host, data + 5, 16, cudaMemcpyDeviceToHost), "byte 20 of an allocation of 32 bytes");
  refused(cudaMemcpy(host, host + 4, 16, cudaMemcpyHostToDevice), "its target is pageable host memory");
  refused(cudaMemcpy(host, data, 16, cudaMemcpyHostToHost), "its source is device memory");
  refused(cudaMemcpy(data, host, 16, cudaMemcpyDeviceToDevice), "its source is pageable host memory");
  refused(cudaMemcpy(data, other, 16, cudaMemcpyDeviceToHost), "its target is device memory");
  refused(cudaMemcpy(data, nullptr, 16, cudaMemcpyDefault), "a null pointer");
  refused(cudaMemcpy(data + 1, data, 16, cudaMemcpyDeviceToDevice), "they overlap");
  refused(cudaMemset(host, 0, 4), "which is pageable host memory");
  refused(cudaMemsetAsync(data + 7, 0, 8, stream), "allocation of 32 bytes");
  EXPECT_EQ(cudaMemcpy(data, other, 32, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(data, host, 0, cudaMemcpyHostToDevice), cudaSuccess);

  void* gone = nullptr;
  ASSERT_EQ(cudaMalloc(&gone, 64), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(gone, stream), cudaSuccess);
  refused(cudaFreeAsync(gone, stream), "going to free already");
  refused(cudaMemcpy(host, gone, 16, cudaMemcpyDeviceToHost), "freed in a stream");
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  refused(cudaFree(gone), "or was freed before");
}

TEST_F(CudaShim, AFailureIsThrownOnceAndFreesStillHappen) {
  float* values = uploaded(std::vector<float>{1});
  void* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 64), cudaSuccess);
  const size_t held = shim::live_bytes();
  launch(fails, 1, 1, 0);
  launch(add, 1, 1, 0, values, 1, 1.0f);
  ASSERT_EQ(cudaFreeAsync(memory, stream), cudaSuccess);
  EXPECT_NE(thrown().find("this kernel fails"), std::string::npos);
  EXPECT_EQ(thrown(), "");
  EXPECT_EQ(shim::live_bytes(), held - 64);
  EXPECT_EQ(downloaded(values, 1)[0], 1);  // what came after the failure was dropped

  // A call that a destructor makes does not throw; the next one does.
  ASSERT_EQ(cudaMalloc(&memory, 64), cudaSuccess);
  launch(fails, 1, 1, 0);
  EXPECT_EQ(cudaFree(memory), cudaErrorLaunchFailure);
  EXPECT_TRUE(contains(cudaGetErrorString(cudaErrorLaunchFailure), "this kernel fails"));
  EXPECT_EQ(shim::live_bytes(), held - 64);
  EXPECT_THROW(shim::launch(nothing, 1, 1, 0, stream), yopo::InternalError);
  cudaGetLastError();
  launch(nothing, 1, 1, 0);
  EXPECT_EQ(thrown(), "");
}

class CudaShimGraph : public CudaShim {
 protected:
  /// What `issue` issues, ready to be run.
  template <typename Issue>
  cudaGraphExec_t record(const Issue& issue) {
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    issue();
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphExec_t executable = nullptr;
    EXPECT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    return executable;
  }
};

TEST_F(CudaShimGraph, ReplaysWithTheArgumentsOfThen) {
  float *values = uploaded(std::vector<float>{1, 2, 3, 4}), *input = pinned<float>(4), *results = device<float>(4);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  const auto before = shim::launches();
  float what = 10;
  cudaGraphExec_t step = record([&] {
    ASSERT_EQ(cudaMemcpyAsync(values, input, 8, cudaMemcpyHostToDevice, stream), cudaSuccess);
    launch(add, 1, 4, 0, values, 3, what);
    ASSERT_EQ(cudaMemsetAsync(results, 0, 16, stream), cudaSuccess);
    launch(copy, 1, 4, 0, results, static_cast<const float*>(values));
    what = 1000;
  });
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(shim::launches(), before);  // nothing has run
  for (int round = 1; round <= 3; ++round) {
    input[0] = float(100 * round);
    input[1] = float(200 * round);
    ASSERT_EQ(cudaGraphLaunch(step, stream), cudaSuccess);
    EXPECT_EQ(downloaded(results, 4),
              (std::vector<float>{100.0f * round + 10, 200.0f * round + 10, 3.0f + 10 * round, 4}));
  }
  EXPECT_EQ(shim::launches(), before + 6);
  ASSERT_EQ(cudaGraphLaunch(step, stream), cudaSuccess);
  EXPECT_EQ(cudaGraphExecDestroy(step), cudaSuccess);  // what was issued runs all the same
  EXPECT_EQ(downloaded(results, 4)[2], 43);
  EXPECT_EQ(cudaGraphLaunch(step, stream), cudaErrorInvalidValue);
}

TEST_F(CudaShimGraph, WhatACaptureForbidsMakesItVoid) {
  float *values = device<float>(4), *room = pinned<float>(4), host[4] = {};
  void* memory = nullptr;
  const std::pair<const char*, std::function<cudaError_t()>> forbidden[] = {
      {"malloc", [&] { return cudaMalloc(&memory, 16); }},
      {"malloc async", [&] { return cudaMallocAsync(&memory, 16, stream); }},
      {"host malloc", [&] { return cudaMallocHost(&memory, 16); }},
      {"free", [&] { return cudaFree(values); }},
      {"free async", [&] { return cudaFreeAsync(values, stream); }},
      {"free host", [&] { return cudaFreeHost(room); }},
      {"copy", [&] { return cudaMemcpy(values, room, 16, cudaMemcpyHostToDevice); }},
      {"fill", [&] { return cudaMemset(values, 0, 16); }},
      {"pageable copy", [&] { return cudaMemcpyAsync(values, host, 16, cudaMemcpyHostToDevice, stream); }},
      {"synchronise", [&] { return cudaStreamSynchronize(stream); }},
      {"query", [&] { return cudaStreamQuery(stream); }},
      {"synchronise all", [&] { return cudaDeviceSynchronize(); }},
  };
  for (const auto& [name, call] : forbidden) {
    SCOPED_TRACE(name);
    cudaGetLastError();
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    cudaStreamCaptureStatus status;
    ASSERT_EQ(cudaStreamIsCapturing(stream, &status), cudaSuccess);
    EXPECT_EQ(status, cudaStreamCaptureStatusActive);
    launch(nothing, 1, 1, 0);
    EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported);
    ASSERT_EQ(cudaStreamIsCapturing(stream, &status), cudaSuccess);
    EXPECT_EQ(status, cudaStreamCaptureStatusInvalidated);
    shim::launch(nothing, 1, 1, 0, stream);
    EXPECT_EQ(cudaGetLastError(), cudaErrorStreamCaptureInvalidated);
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    ASSERT_EQ(cudaStreamIsCapturing(stream, &status), cudaSuccess);
    EXPECT_EQ(status, cudaStreamCaptureStatusNone);
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorIllegalState);
  }
  EXPECT_EQ(downloaded(values, 4).size(), 4u);  // the stream is as good as before
}

TEST_F(CudaShimGraph, ModesThreadsAndEvents) {
  void* memory = nullptr;
  cudaGraph_t graph = nullptr;
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreate(&event), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&memory, 16), cudaSuccess);
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaStreamWaitEvent(stream, event), cudaSuccess);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaErrorInvalidValue);

  for (const auto mode : {cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeGlobal}) {
    ASSERT_EQ(cudaStreamBeginCapture(stream, mode), cudaSuccess);
    EXPECT_EQ(cudaStreamBeginCapture(stream, mode), cudaErrorIllegalState);
    cudaError_t elsewhere = cudaSuccess, ended = cudaSuccess;
    std::thread([&] {
      elsewhere = cudaMalloc(&memory, 16);
      cudaGraph_t none = nullptr;
      ended = cudaStreamEndCapture(stream, &none);
    }).join();
    const bool local = mode == cudaStreamCaptureModeThreadLocal;
    EXPECT_EQ(elsewhere, local ? cudaSuccess : cudaErrorStreamCaptureUnsupported);
    EXPECT_EQ(ended, cudaErrorStreamCaptureWrongThread);
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), local ? cudaSuccess : cudaErrorStreamCaptureInvalidated);
    if (local) {
      EXPECT_EQ(cudaFree(memory), cudaSuccess);
      EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    }
  }
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
}

TEST_F(CudaShimGraph, MemoryFreedBeforeAReplayIsNoticed) {
  float *values = nullptr, *room = pinned<float>(4);
  ASSERT_EQ(cudaMalloc(&values, 16), cudaSuccess);
  cudaGraphExec_t step =
      record([&] { ASSERT_EQ(cudaMemcpyAsync(values, room, 16, cudaMemcpyHostToDevice, stream), cudaSuccess); });
  ASSERT_EQ(cudaFree(values), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(step, stream), cudaSuccess);
  EXPECT_NE(thrown().find("the memory was freed since this was issued"), std::string::npos);
  EXPECT_EQ(cudaGraphExecDestroy(step), cudaSuccess);
}

__global__ void calls_the_host() { cudaDeviceSynchronize(); }

TEST_F(CudaShim, KernelsCannotCallTheHost) {
  launch(calls_the_host, 1, 1, 0);
  launch(nothing, 1, 1, 0);
  EXPECT_NE(thrown().find("a kernel calls the host's interface"), std::string::npos);
}

}  // namespace
}  // namespace shim_test
