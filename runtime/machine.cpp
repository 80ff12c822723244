#include "runtime/machine.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/error.h"
#include "runtime/cpu/kernels.h"
#include "runtime/ops.h"

namespace yopo::runtime {
namespace {

template <typename Work>
double best_seconds(int tries, Work work) {
  double best = 1e30;
  for (int i = 0; i < tries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

double measure_flops(DType type, const Ops& ops) {
  constexpr int64_t side = 3072;
  const Buffer a(ops, side * side * size_of(type)), w(ops, side * side * size_of(type)), out(ops, side * side * sizeof(float));
  // Zeros would do for the time on most machines, but some spend less power on them and clock higher.
  std::vector<float> values(side * side);
  uint32_t state = 1;
  for (float& value : values) value = float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 24) - 0.5f;
  std::vector<std::byte> converted(values.size() * size_of(type));
  from_float(values.data(), values.size(), type, converted.data());
  ops.upload(a.data(), converted.data(), converted.size());
  ops.upload(w.data(), converted.data(), converted.size());
  Gemm gemm;
  gemm.type = type;
  gemm.m = gemm.n = gemm.k = gemm.lda = gemm.ldw = gemm.ldo = side;
  gemm.a = a.data(), gemm.w = w.data(), gemm.out = out.data();
  return 2.0 * double(side) * double(side) * double(side) / best_seconds(5, [&] { ops.gemm(gemm); });
}

double measure_bytes() {
  constexpr int64_t count = int64_t(64) << 20, block = 1 << 16;
  const Buffer memory(cpu_ops(), count * sizeof(float));
  float* data = memory.as<float>();
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i) data[i] = 1.0f;
  const cpu::Kernels& set = cpu::kernels();
  double total = 0;
  const double seconds = best_seconds(5, [&] {
    double sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (int64_t first = 0; first < count; first += block) sum += double(set.sum(data + first, block));
    total += sum;
  });
  ensure(total == 5.0 * double(count), "the memory that was read holds what was written");
  return double(count) * sizeof(float) / seconds;
}

}  // namespace

MachineRates measure_machine(DType type, const std::string& device) {
  ensure(device == "cpu", "rates of a device that this build runs on");
  return {measure_flops(type, cpu_ops()), measure_bytes()};
}

}  // namespace yopo::runtime
