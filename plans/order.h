// The order of heads and neurons in which everything that visual rows use comes first.
#pragma once

#include "plans/plan.h"

namespace yopo {

/// How export orders a layer. Entry i is the old index that comes i-th.
struct LayerOrder {
  std::vector<int64_t> kv_heads;  // [num_key_value_heads]
  std::vector<int64_t> heads;     // [num_attention_heads], whole groups in kv_heads order
  std::vector<int64_t> neurons;   // [intermediate_size]
  bool identity() const;
};
/// Every head and neuron where it is.
LayerOrder identity_order(const DecoderSpec& spec);
/// Updated heads before only-read before dropped; with grouped-query attention whole KV groups by how many of their
/// heads are updated, then kept, then heads inside each group; kept neurons first. Stable: ties keep their old order.
std::vector<LayerOrder> orders_of(const Plan& plan, const DecoderSpec& spec);

/// The same plan seen in the new order (its sets become prefixes).
Plan reorder_plan(const Plan& plan, const DecoderSpec& spec, const std::vector<LayerOrder>& orders);

}  // namespace yopo
