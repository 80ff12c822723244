// Arrays on the device for tests of CUDA kernels, through nothing but cudaMalloc, cudaMemcpy and cudaDeviceSynchronize:
// the same tests run on a GPU and over the shim.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "tests/support/close.h"

namespace yopo::testing {

inline void succeed(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

/// Elements of one type in device memory of their own, `shift` elements past its start: 1 makes them unfit for vector
/// access.
class OnDevice {
 public:
  OnDevice(const std::vector<float>& values, DType type, size_t shift = 0)
      : type_(type), count_(values.size()), shift_(shift) {
    std::vector<std::byte> bytes(count_ * size_of(type));
    from_float(values.data(), count_, type, bytes.data());
    fill(bytes.data(), bytes.size());
  }
  template <typename T>
  explicit OnDevice(const std::vector<T>& values) : type_(DType::U8), count_(values.size() * sizeof(T)) {
    fill(values.data(), count_);
  }
  ~OnDevice() { cudaFree(memory_); }
  OnDevice(OnDevice&& other) noexcept
      : type_(other.type_),
        count_(other.count_),
        shift_(other.shift_),
        memory_(std::exchange(other.memory_, nullptr)) {}
  OnDevice& operator=(OnDevice&&) = delete;

  void* data() const { return static_cast<std::byte*>(memory_) + shift_ * size_of(type_); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data());
  }
  /// What it holds once all work is done.
  std::vector<float> floats() const {
    const auto bytes = raw<std::byte>();
    std::vector<float> values(count_);
    to_float(bytes.data(), type_, count_, values.data());
    return values;
  }
  template <typename T>
  std::vector<T> raw() const {
    std::vector<T> values(count_ * size_of(type_) / sizeof(T));
    succeed(cudaDeviceSynchronize());
    if (!values.empty()) succeed(cudaMemcpy(values.data(), data(), values.size() * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }
  template <typename T>
  void set(const std::vector<T>& values) {
    succeed(cudaDeviceSynchronize());
    succeed(cudaMemcpy(data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    succeed(cudaDeviceSynchronize());
  }

 private:
  void fill(const void* from, size_t bytes) {
    succeed(cudaMalloc(&memory_, std::max<size_t>(bytes + shift_ * size_of(type_), 1)));
    if (bytes) succeed(cudaMemcpy(data(), from, bytes, cudaMemcpyHostToDevice));
    succeed(cudaDeviceSynchronize());
  }
  DType type_;
  size_t count_, shift_ = 0;
  void* memory_ = nullptr;
};

/// `values` as `type` holds them.
inline std::vector<float> rounded(const std::vector<float>& values, DType type) {
  std::vector<std::byte> bytes(values.size() * size_of(type));
  from_float(values.data(), values.size(), type, bytes.data());
  std::vector<float> back(values.size());
  to_float(bytes.data(), type, values.size(), back.data());
  return back;
}

/// Normally distributed numbers that `type` holds exactly, so that only results are rounded.
inline std::vector<float> draw(std::mt19937& random, int64_t count, DType type, float scale = 1) {
  std::vector<float> values(static_cast<size_t>(count));
  std::normal_distribution<float> normal(0, scale);
  for (float& value : values) value = normal(random);
  return rounded(values, type);
}

/// fp32: within 1e-6 of the largest |expected|, or of `scale` if that is larger. 16-bit: that and one rounding of each
/// result.
template <typename T>
::testing::AssertionResult rounded_once(const std::vector<float>& actual, const std::vector<T>& expected, DType type,
                                        double relative = 1e-6, double scale = 0) {
  if (actual.size() != expected.size()) return close(actual, expected, 0);
  for (const T value : expected) scale = std::max(scale, std::abs(double(value)));
  const double half_step = type == DType::BF16 ? 0x1p-8 : type == DType::F16 ? 0x1p-11 : 0;  // of a number, relative
  const double least = type == DType::F16 ? 0x1p-25 : 0;                                     // half of fp16's smallest
  std::vector<double> excess, none(actual.size(), 0.0);
  for (size_t i = 0; i < actual.size(); ++i) {
    const double allowed = relative * scale + half_step * std::abs(double(expected[i])) + least;
    const double difference = std::abs(double(actual[i]) - double(expected[i]));
    excess.push_back(difference == 0 ? 0 : difference / allowed);
  }
  auto result = close(excess, none, 1);
  if (!result) result << " (in units of what is allowed, fp32 bound " << relative * scale << ")";
  return result;
}

inline constexpr DType cuda_types[] = {DType::F32, DType::BF16, DType::F16};

}  // namespace yopo::testing
