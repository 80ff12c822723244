#include "runtime/machine.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>

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

/// By the device's own clock where it has one.
double best_on(const Ops& ops, const std::function<void()>& issue) {
  if (!ops.seconds_of) {
    return best_seconds(5, [&] {
      issue();
      ops.synchronize();
    });
  }
  double best = 1e30;
  for (int i = 0; i < 5; ++i) best = std::min(best, ops.seconds_of(issue));
  return best;
}

double measure_flops(DType type, const Ops& ops, int64_t side) {
  const auto elements = size_t(side) * size_t(side);
  const Buffer a = random_buffer(ops, elements, type), w = random_buffer(ops, elements, type);
  const DType out_type = ops.host_memory ? DType::F32 : type;
  const Buffer out(ops, elements * size_of(out_type));
  Gemm gemm;
  gemm.type = type;
  gemm.m = gemm.n = gemm.k = gemm.lda = gemm.ldw = gemm.ldo = side;
  gemm.a = a.data(), gemm.w = w.data(), gemm.out = out.data();
  gemm.out_type = out_type;
  Buffer packed;  // the rate of the form that weights are held in
  if (const size_t bytes = ops.packed_bytes ? ops.packed_bytes(type, side, side) : 0) {
    packed = Buffer(ops, bytes);
    ops.pack(type, w.data(), side, side, side, packed.data());
    gemm.w = packed.data(), gemm.packed = true;
  }
  ops.gemm(gemm);  // what the first of a shape sets up is not its rate
  ops.synchronize();
  return 2.0 * double(side) * double(side) * double(side) / best_on(ops, [&] { ops.gemm(gemm); });
}

/// On a device: a copy, which reads and writes.
double measure_bytes_on(const Ops& ops, size_t bytes) {
  ensure(ops.copy, "a device copies");
  const Buffer from = random_buffer(ops, bytes / sizeof(float), DType::F32), to(ops, bytes);
  ops.copy(to.data(), from.data(), bytes);
  return 2 * double(bytes) / best_on(ops, [&] { ops.copy(to.data(), from.data(), bytes); });
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

MachineSizes sizes_for(const Ops& ops) {
  if (ops.host_memory) return {3072, 0};
  return {8192, size_t(1) << 30};
}

MachineRates measure_machine(DType type, const Ops& ops, const MachineSizes& sizes) {
  return {measure_flops(type, ops, sizes.side),
          ops.host_memory ? measure_bytes() : measure_bytes_on(ops, sizes.copy_bytes)};
}

}  // namespace yopo::runtime
