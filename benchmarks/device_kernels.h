// The kernels of a device one by one, at a model's sizes.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "runtime/ops.h"

namespace yopo::bench {

/// Of one model: its decoder, one image's visual tokens (side x side) and a question, and its vision tower.
struct KernelSizes {
  std::string model;
  int64_t hidden = 0, neurons = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int64_t side = 0, text = 0;
  int64_t tower_pictures = 0, tower_rows = 0, tower_heads = 0, tower_head_dim = 0;
};
/// LLaVA-1.5 7B and 13B, InternVL2-8B with seven tiles, Qwen2-VL-7B with one large picture.
std::vector<KernelSizes> real_sizes();

struct KernelTime {
  std::string kernel, model;
  Json shape;               // what another implementation needs to do the same
  double milliseconds = 0;  // of one call among several that follow one another
  double flops = 0, bytes = 0;
};
/// Each is called until `enough` seconds are full, at least three times; products take other weights in each call, so
/// that caches do not hold them.
std::vector<KernelTime> time_kernels(const runtime::Ops& ops, DType type, const KernelSizes& sizes, double enough);

Json to_json(const std::vector<KernelTime>& times);

}  // namespace yopo::bench
