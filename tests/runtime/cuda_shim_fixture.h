// What the tests of the emulated CUDA machine share.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/support/cuda_emulator/include/cuda_emulated_launch.h"
#include "tests/support/cuda_emulator/machine.h"

namespace shim_test {

/// A machine as it is out of the box, and a stream; nothing may be left over.
class CudaShim : public ::testing::Test {
 protected:
  void SetUp() override {
    shim::configure({});
    allocations_ = shim::live_allocations();
    handles_ = shim::live_handles();
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    cudaGetLastError();
  }
  void TearDown() override {
    shim::configure({});
    for (void* data : device_) EXPECT_EQ(cudaFree(data), cudaSuccess);
    for (void* data : pinned_) EXPECT_EQ(cudaFreeHost(data), cudaSuccess);
    EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
    EXPECT_EQ(shim::live_allocations(), allocations_);
    EXPECT_EQ(shim::live_handles(), handles_);
  }

  /// `count` elements of device memory, freed after the test.
  template <typename T>
  T* device(size_t count) {
    T* data = nullptr;
    EXPECT_EQ(cudaMalloc(&data, count * sizeof(T)), cudaSuccess);
    device_.push_back(data);
    return data;
  }
  template <typename T>
  T* pinned(size_t count) {
    T* data = nullptr;
    EXPECT_EQ(cudaMallocHost(&data, count * sizeof(T)), cudaSuccess);
    pinned_.push_back(data);
    return data;
  }
  template <typename T>
  T* uploaded(const std::vector<T>& values) {
    T* data = device<T>(values.size());
    EXPECT_EQ(cudaMemcpyAsync(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, stream),
              cudaSuccess);
    return data;
  }
  /// After everything in the stream.
  template <typename T>
  std::vector<T> downloaded(const T* data, size_t count) {
    std::vector<T> values(count);
    EXPECT_EQ(cudaMemcpyAsync(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost, stream), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    return values;
  }
  template <typename... Parameters, typename... Arguments>
  void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
    shim::launch(kernel, grid, block, shared, stream, arguments...);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  }
  /// What running the stream throws, or "" if it throws nothing.
  std::string thrown() {
    try {
      cudaStreamSynchronize(stream);
    } catch (const std::exception& error) {
      return error.what();
    }
    return "";
  }

  cudaStream_t stream = nullptr;

 private:
  std::vector<void*> device_, pinned_;
  size_t allocations_ = 0, handles_ = 0;
};

}  // namespace shim_test
