// What the readers of the families' config.json share.
#pragma once

#include "models/spec.h"
#include "models/tensors.h"

namespace yopo {

constexpr int64_t kMaxSize = 1 << 20;  // no width, count or vocabulary of this field comes near it

/// UserError naming the known ones for another name than silu, gelu and quick_gelu.
Activation activation_of(const std::string& name, const std::string& where);

/// The names of transformers' LLaMA, which its Qwen2 shares.
std::vector<TensorName> llama_names();

/// The sizes that all families write under the same keys; `defaults` are those of the family's class in transformers.
/// UserError for absurd or contradictory ones, and for another activation than silu.
DecoderSpec read_decoder(const Json& config, const std::string& where, const DecoderSpec& defaults);

/// Width, heads, patches of a square picture; `defaults` as above. UserError for absurd or contradictory ones.
void check_vision(const VisionSpec& vision, const std::string& where);

/// eos, bos and pad from generation_config.json, config.json and its object `text_key`, in this order.
void read_special_ids(const Checkpoint& checkpoint, const std::string& text_key, ModelSpec& spec);


}  // namespace yopo
