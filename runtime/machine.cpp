#include "runtime/machine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "runtime/cpu/kernels.h"
#include "runtime/ops.h"
#include "runtime/random_input.h"

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
  const Buffer a = random_buffer(ops, side * side, type), w = random_buffer(ops, side * side, type);
  const Buffer out(ops, side * side * sizeof(float));
  Gemm gemm;
  gemm.type = type;
  gemm.m = gemm.n = gemm.k = gemm.lda = gemm.ldw = gemm.ldo = side;
  gemm.a = a.data(), gemm.w = w.data(), gemm.out = out.data();
  Buffer packed;  // the rate of the form that weights are held in
  if (const size_t bytes = ops.packed_bytes ? ops.packed_bytes(type, side, side) : 0) {
    packed = Buffer(ops, bytes);
    ops.pack(type, w.data(), side, side, side, packed.data());
    gemm.w = packed.data(), gemm.packed = true;
  }
  ops.gemm(gemm);  // what the first of a shape sets up is not its rate
  ops.synchronize();
  return 2.0 * double(side) * double(side) * double(side) / best_seconds(5, [&] {
           ops.gemm(gemm);
           ops.synchronize();
         });
}

/// On a device: a kernel that only moves memory, fp32 in and 16 bits out.
double measure_bytes_on(const Ops& ops) {
  constexpr int64_t rows = 8192, columns = 8192;
  const std::vector<float> row(columns, 1.0f);
  const Buffer x(ops, rows * columns * sizeof(float)), weight(ops, columns * sizeof(float)),
      out(ops, rows * columns * sizeof(uint16_t));
  ops.upload(weight.data(), row.data(), columns * sizeof(float));
  for (int64_t i = 0; i < rows; ++i) ops.upload(x.as<float>() + i * columns, row.data(), columns * sizeof(float));
  ops.synchronize();
  return double(rows * columns) * (sizeof(float) + sizeof(uint16_t)) / best_seconds(5, [&] {
           ops.rms_norm(x.as<float>(), weight.as<float>(), 1e-6, rows, columns, DType::BF16, out.data());
           ops.synchronize();
         });
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

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name"))
      if (const size_t colon = line.find(": "); colon != std::string::npos) return printable(line.substr(colon + 2));
  return "unknown";
}

MachineRates measure_machine(DType type, const Ops& ops) {
  return {measure_flops(type, ops), ops.host_memory ? measure_bytes() : measure_bytes_on(ops)};
}

}  // namespace yopo::runtime
