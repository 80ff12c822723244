// Dense against pruned in one process, interleaved: `yopo bench`.
#pragma once

#include "core/json.h"
#include "runtime/engine.h"

namespace yopo::runtime {

struct BenchOptions {
  fs::path model;              // either a checkpoint ...
  fs::path config;             // ... or a config.json with random weights
  int64_t layers = 0;          // cut to this many decoder layers; 0: all
  fs::path plan;               // optional with a pruned checkpoint
  int64_t visual = 576, text = 64, batch = 1;
  int64_t decode_tokens = 16;  // timed decode steps
  int64_t rounds = 5;          // interleaved repetitions after one warm-up
  Options run;
  uint64_t seed = 0;
};

struct BenchSide {
  double prefill_ms = 0, prefill_spread_ms = 0;  // median, interquartile range
  double decode_ms = 0, decode_spread_ms = 0;    // per token
  double flops = 0, flops_promised = 0;          // exact convention, prefill
  int64_t kv_bytes = 0, kv_bytes_promised = 0;   // after prefill
  int64_t peak_bytes = 0;                        // resident memory peak of the side's prefill
};
struct BenchResult {
  BenchSide dense, pruned;
  double speedup = 0;         // dense prefill time / pruned prefill time (median of paired ratios)
  double flops_ratio = 0;     // dense flops / pruned flops
  double roofline_ratio = 0;  // the speed-up that the machine's FLOP rate and memory bandwidth allow
  double efficiency = 0;      // speedup / roofline_ratio
};
BenchResult bench(const BenchOptions& options);
Json bench_to_json(const BenchResult& result);

}  // namespace yopo::runtime
