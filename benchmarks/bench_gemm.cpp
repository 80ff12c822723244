// Matrix products as the decoder issues them: all rows of a prefill, one row of a decode step, and the leading rows and
// columns of the same weights that visual tokens are left with.
#include <benchmark/benchmark.h>

#include "benchmarks/buffers.h"
#include "runtime/cpu/gemm.h"

namespace yopo::bench {
namespace {

/// Arguments: bf16, m, n, k, ldw. ldw > k: a prefix of the columns of w, as for the down-projection of few neurons.
void gemm(benchmark::State& state) {
  const DType type = state.range(0) ? DType::BF16 : DType::F32;
  if (type == DType::BF16 && !runtime::cpu::bf16_is_possible()) {
    state.SkipWithError("this CPU does not run bf16 products");
    return;
  }
  const int64_t m = state.range(1), n = state.range(2), k = state.range(3), ldw = state.range(4);
  const auto a = random_values(type, m * k, 1), w = random_values(type, n * ldw, 2);
  std::vector<float> out(static_cast<size_t>(m * n));
  runtime::Gemm product;
  product.type = type;
  product.m = m;
  product.n = n;
  product.k = k;
  product.a = a.data();
  product.lda = k;
  product.w = w.data();
  product.ldw = ldw;
  product.out = out.data();
  product.ldo = n;
  for (auto _ : state) {
    runtime::cpu_ops().gemm(product);
    benchmark::ClobberMemory();
  }
  state.SetLabel(label(type));
  state.counters["FLOP/s"] = benchmark::Counter(2.0 * double(m * n * k), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["B/s"] =
      benchmark::Counter(double(n * k) * double(size_of(type)), benchmark::Counter::kIsIterationInvariantRate);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"bf16", "m", "n", "k", "ldw"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (int64_t bf16 : {0, 1}) {
    bench->Args({bf16, kVisual + kText, kHidden, kHidden, kHidden});              // a projection, dense
    bench->Args({bf16, kText, kHidden, kHidden, kHidden});                        // ... text rows alone
    bench->Args({bf16, kVisual, kHidden / 4, kHidden, kHidden});                  // ... a quarter of the heads
    bench->Args({bf16, kVisual + kText, kIntermediate, kHidden, kHidden});        // up, dense
    bench->Args({bf16, kVisual, kIntermediate / 4, kHidden, kHidden});            // up, a quarter of the neurons
    bench->Args({bf16, kVisual + kText, kHidden, kIntermediate, kIntermediate});  // down, dense
    bench->Args({bf16, kVisual, kHidden, kIntermediate / 4, kIntermediate});      // down, a quarter of the columns
    bench->Args({bf16, 1, kHidden, kHidden, kHidden});                            // decode
    bench->Args({bf16, 1, kIntermediate, kHidden, kHidden});
  }
}
BENCHMARK(gemm)->Apply(sizes);

}  // namespace
}  // namespace yopo::bench
