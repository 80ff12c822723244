// Prefill attention of one image and a question, dense and as plans leave it, and one decode step.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "benchmarks/buffers.h"
#include "runtime/ops.h"

namespace yopo::bench {
namespace {

/// One request: the visual rows come first in the buffers; in the prompt `kBefore` text tokens stand before the image.
constexpr int64_t kBefore = 35;

struct Prompt {
  DType type;
  std::vector<std::byte> q, out, keys, values, text_keys, text_values;
  std::vector<int32_t> visual_before_text, text_before_visual;
  std::vector<uint8_t> kept, updated;
  std::vector<runtime::ImageGrid> images{{0, kGrid, kGrid}};
  runtime::KvSegment visual, text;

  Prompt(DType type, int64_t heads_kept, int64_t heads_updated)
      : type(type),
        q(random_values(type, (kVisual + kText) * kHidden, 1)),
        out(q.size()),
        keys(random_values(type, kVisual * kHidden, 2)),
        values(random_values(type, kVisual * kHidden, 3)),
        text_keys(random_values(type, kText * kHidden, 4)),
        text_values(random_values(type, kText * kHidden, 5)),
        visual_before_text(kText, 0),
        text_before_visual(kVisual, kBefore),
        kept(kHeads, 0),
        updated(kHeads, 0) {
    std::fill(visual_before_text.begin() + kBefore, visual_before_text.end(), int32_t(kVisual));
    std::fill_n(kept.begin(), heads_kept, uint8_t(1));
    std::fill_n(updated.begin(), heads_updated, uint8_t(1));
    visual = {keys.data(), values.data(), heads_kept, kVisual, kVisual};
    text = {text_keys.data(), text_values.data(), kHeads, kText, kText};
  }
};

/// Arguments: bf16, heads kept, heads updated, window radius (-1: none; causal).
void prefill_attention(benchmark::State& state) {
  Prompt prompt(state.range(0) ? DType::BF16 : DType::F32, state.range(1), state.range(2));
  runtime::PrefillRequest request;
  request.visual_rows = kVisual;
  request.text_row = kVisual;
  request.text_rows = kText;
  request.visual_before_text = prompt.visual_before_text.data();
  request.text_before_visual = prompt.text_before_visual.data();
  const std::vector<int32_t> image_of(size_t(kVisual), 0);
  request.image_of_visual = image_of.data();
  request.images = prompt.images.data();
  request.visual = prompt.visual;
  request.text = prompt.text;
  runtime::PrefillAttention attention;
  attention.type = prompt.type;
  attention.heads = attention.kv_heads = kHeads;
  attention.head_dim = kHeadDim;
  attention.q = prompt.q.data();
  attention.out = prompt.out.data();
  attention.q_places.stride = attention.out_places.stride = kHeads * kHeadDim;
  attention.kept = prompt.kept.data();
  attention.updated = prompt.updated.data();
  attention.window_radius = state.range(3);
  attention.window_causal = state.range(3) >= 0;
  attention.requests = {&request, 1};
  uint64_t pairs = 0;
  attention.pairs = &pairs;
  for (auto _ : state) {
    pairs = 0;
    runtime::cpu_ops().prefill_attention(attention);
    benchmark::ClobberMemory();
  }
  state.SetLabel(label(prompt.type));
  state.counters["FLOP/s"] =
      benchmark::Counter(4.0 * double(kHeadDim) * double(pairs), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(prefill_attention)
    ->ArgNames({"bf16", "kept", "updated", "radius"})
    ->ArgsProduct({{0, 1}, {kHeads}, {kHeads, kHeads / 4, 0}, {-1}})
    ->ArgsProduct({{0, 1}, {kHeads}, {kHeads}, {3, 1, 0}})
    ->ArgsProduct({{0, 1}, {kHeads / 4}, {kHeads / 4}, {-1, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// Arguments: bf16, heads kept.
void decode_attention(benchmark::State& state) {
  Prompt prompt(state.range(0) ? DType::BF16 : DType::F32, state.range(1), state.range(1));
  const runtime::DecodeRequest request{prompt.visual, prompt.text};
  runtime::DecodeAttention attention;
  attention.type = prompt.type;
  attention.heads = attention.kv_heads = kHeads;
  attention.head_dim = kHeadDim;
  attention.q = prompt.q.data();
  attention.out = prompt.out.data();
  attention.q_places.stride = attention.out_places.stride = kHeads * kHeadDim;
  attention.kept = prompt.kept.data();
  attention.requests = {&request, 1};
  const int32_t count = kText - 1;
  attention.counts = &count;
  uint64_t pairs = 0;
  attention.pairs = &pairs;
  for (auto _ : state) {
    pairs = 0;
    runtime::cpu_ops().decode_attention(attention);
    benchmark::ClobberMemory();
  }
  state.SetLabel(label(prompt.type));
  state.SetBytesProcessed(int64_t(state.iterations()) * 2 * int64_t(pairs) * kHeadDim * int64_t(size_of(prompt.type)));
}
BENCHMARK(decode_attention)
    ->ArgNames({"bf16", "kept"})
    ->ArgsProduct({{0, 1}, {kHeads, kHeads / 4}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace yopo::bench
