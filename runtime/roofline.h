// The least time that a machine's two rates allow for a prefill.
#pragma once

#include "plans/cost.h"

namespace yopo::runtime {

/// The longer of every layer's exact FLOPs at `flop_rate` and of reading its weights once at `byte_rate`, and of the
/// head's; summed: products that are bound by bytes hide behind those that are bound by FLOPs.
double roofline_seconds(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t batch,
                        int64_t element_size, double flop_rate, double byte_rate);

/// out [m, n] of a [m, k] and w [n, k].
struct ProductShape {
  int64_t m = 0, n = 0, k = 0;
  bool adds = false;  // to fp32 rows that are there; else out is written in the weights' type
  double flops() const { return 2.0 * double(m) * double(n) * double(k); }
};
/// The products of one layer's prefill: what visual and text rows share, and what text rows have alone, of q, k and v
/// together, o, gate and up together, and down; then the compensation's. Their FLOPs are layer_prefill_cost's without
/// attention.
std::vector<ProductShape> layer_products(const LayerPlan& layer, const DecoderSpec& spec, const PromptShape& prompt,
                                         int64_t batch);

/// The same where products and attention run one after the other, each at the longer of its FLOPs and of the bytes that
/// it reads and writes: nothing hides behind anything else. At least roofline_seconds but for the norms' weights.
double roofline_seconds_one_by_one(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t batch,
                                   int64_t element_size, double flop_rate, double byte_rate);

}  // namespace yopo::runtime
