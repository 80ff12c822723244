// Dense against pruned in one process, interleaved: `yopo bench`.
#pragma once

#include "core/json.h"
#include "plans/times.h"
#include "runtime/engine.h"
#include "runtime/roofline.h"

namespace yopo::runtime {

struct BenchOptions {
  fs::path model;      // either a checkpoint ...
  fs::path config;     // ... or a config.json with random weights
  int64_t layers = 0;  // cut to this many decoder layers; 0: all
  fs::path plan;       // optional with a pruned checkpoint
  std::string budget;  // which plan of a checkpoint with several; "": the default
  int64_t visual = 576, text = 64, batch = 1;
  int64_t decode_tokens = 16;  // timed decode steps
  int64_t rounds = 5;          // interleaved repetitions after one warm-up
  bool vision = false;         // time the vision tower, too, over pictures of about as many visual tokens
  Options run;
  uint64_t seed = 0;
};

struct BenchSide {
  double prefill_ms = 0, prefill_spread_ms = 0;  // median, interquartile range
  double decode_ms = 0, decode_spread_ms = 0;    // per token
  double attention_ms = 0;               // of the prefill, attention itself (median); 0 where it cannot be told apart
  double flops = 0, flops_promised = 0;  // exact convention, prefill
  double pairs = 0;                      // (query, key) pairs attended in the prefill, summed over heads
  int64_t kv_bytes = 0, kv_bytes_promised = 0;       // after prefill
  int64_t peak_bytes = 0;                            // weights, and activations and KV cache at the prefill's peak
  int64_t activation_bytes = 0;                      // of these, activations and KV cache (Engine::take_peak_bytes)
  double roofline_ms = 0, products_roofline_ms = 0;  // what the rates allow a prefill: runtime/roofline.h
};
struct BenchResult {
  BenchSide dense, pruned;
  double speedup = 0;                  // dense prefill time / pruned prefill time (median of paired ratios)
  double flops_ratio = 0;              // dense flops / pruned flops
  double roofline_ratio = 0;           // roofline_seconds of dense / of pruned: what the machine's rates allow
  double efficiency = 0;               // speedup / roofline_ratio
  double products_roofline_ratio = 0;  // the same of roofline_seconds_one_by_one
  double products_efficiency = 0;      // speedup / products_roofline_ratio
  double flop_rate = 0;                // FLOP/s of a large square product of that dtype, measured in the same process
  double byte_rate = 0;  // bytes/s of reading memory with all threads, on a device of a large copy, likewise
  double vision_ms = 0, vision_spread_ms = 0;  // tower and projector, by the wall clock; 0: not asked for
  int64_t vision_tokens = 0, pictures = 0;     // visual tokens that they gave
  std::string dtype, device;
  std::string clock;  // of prefill and decode: "wall", or "device" (its own)
};
BenchResult bench(const BenchOptions& options);
/// Times of the layers of `model` or `config` for prompts of `visual` and `text` tokens (runtime/measure_times.h).
TimeTable bench_times(const BenchOptions& options);
Json bench_to_json(const BenchResult& result);

}  // namespace yopo::runtime
