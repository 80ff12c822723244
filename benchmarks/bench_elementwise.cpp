// What lies between the matrix products: bound by memory bandwidth.
#include <benchmark/benchmark.h>

#include "benchmarks/buffers.h"
#include "runtime/ops.h"

namespace yopo::bench {
namespace {

constexpr int64_t kRows = kVisual + kText;

DType type_of(const benchmark::State& state) { return state.range(0) ? DType::BF16 : DType::F32; }

void finish(benchmark::State& state, int64_t bytes) {
  state.SetLabel(label(type_of(state)));
  state.SetBytesProcessed(int64_t(state.iterations()) * bytes);
}

void rms_norm(benchmark::State& state) {
  const DType type = type_of(state);
  const auto x = random_values(DType::F32, kRows * kHidden, 1), weight = random_values(DType::F32, kHidden, 2);
  std::vector<std::byte> out(size_t(kRows * kHidden) * size_of(type));
  for (auto _ : state) {
    runtime::cpu_ops().rms_norm(reinterpret_cast<const float*>(x.data()), reinterpret_cast<const float*>(weight.data()),
                                1e-5, kRows, kHidden, type, out.data());
    benchmark::ClobberMemory();
  }
  finish(state, int64_t(x.size() + out.size()));
}
BENCHMARK(rms_norm)->ArgName("bf16")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMicrosecond);

void rope(benchmark::State& state) {
  const DType type = type_of(state);
  auto x = random_values(type, kRows * kHidden, 1);
  const std::vector<float> cosines(size_t(kRows * kHeadDim / 2), 0.8f), sines(size_t(kRows * kHeadDim / 2), 0.6f);
  for (auto _ : state) {
    runtime::cpu_ops().rope(x.data(), type, kRows, kHeads, kHeadDim, kHidden, cosines.data(), sines.data());
    benchmark::ClobberMemory();
  }
  finish(state, 2 * int64_t(x.size()));
}
BENCHMARK(rope)->ArgName("bf16")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMicrosecond);

void gated(benchmark::State& state) {
  const DType type = type_of(state);
  auto gate = random_values(type, kRows * kIntermediate, 1);
  // Ones: the values neither vanish nor grow over the iterations.
  const std::vector<float> ones(size_t(kRows * kIntermediate), 1.0f);
  std::vector<std::byte> up(ones.size() * size_of(type));
  from_float(ones.data(), ones.size(), type, up.data());
  for (auto _ : state) {
    runtime::cpu_ops().gated(gate.data(), up.data(), type, 1, kRows * kIntermediate, kRows * kIntermediate,
                             gate.data());
    benchmark::ClobberMemory();
  }
  finish(state, 3 * int64_t(gate.size()));
}
BENCHMARK(gated)->ArgName("bf16")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace yopo::bench
