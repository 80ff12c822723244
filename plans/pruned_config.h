// The "yopo" object of an exported checkpoint's config.json: the few counts that running pruned needs, since export put
// what visual tokens use first in every layer ("reorder once, slice forever").
#pragma once

#include <optional>

#include "plans/plan.h"

namespace yopo {

/// {"format": "yopo-pruned", "version": 1, "window": {...}|null, "visual_layers": n,
///  "heads": [[per KV group]...], "updates": [...], "ffn": [count|null...], "provenance": {...}}
/// heads[l][g] counts the kept query heads of KV group g, which are the first of that group.
Json pruned_config(const Plan& plan, const DecoderSpec& spec);

/// The plan of a pruned checkpoint in that checkpoint's own order (all sets are prefixes); nullopt for a dense one.
/// UserError for a "yopo" object that does not fit the model.
std::optional<Plan> plan_of_checkpoint(const Checkpoint& checkpoint, const DecoderSpec& spec);

/// How export orders a layer. Entry i is the old index that comes i-th.
struct LayerOrder {
  std::vector<int64_t> kv_heads;  // [num_key_value_heads]
  std::vector<int64_t> heads;     // [num_attention_heads], whole groups in kv_heads order
  std::vector<int64_t> neurons;   // [intermediate_size]
  bool identity() const;
};
/// Updated heads before only-read before dropped; with grouped-query attention whole KV groups by how many of their
/// heads are updated, then kept, then heads inside each group; kept neurons first. Stable: ties keep their old order.
std::vector<LayerOrder> orders_of(const Plan& plan, const DecoderSpec& spec);

/// The same plan seen in the new order (its sets become prefixes).
Plan reorder_plan(const Plan& plan, const DecoderSpec& spec, const std::vector<LayerOrder>& orders);

}  // namespace yopo
