// What the readers of the families' config.json share.
#pragma once

#include "models/families/image_rules.h"
#include "models/families/rope_config.h"
#include "models/family.h"

namespace yopo {

constexpr int64_t kMaxSize = 1 << 20;  // no width, count or vocabulary of this field comes near it

/// UserError naming the known ones for another name than silu, gelu, quick_gelu and gelu_pytorch_tanh.
Activation activation_of(const std::string& name, const std::string& where);

/// The names of transformers' LLaMA, which its Qwen2 and Qwen3 share.
std::vector<TensorName> llama_names();

/// The sizes that all families write under the same keys; `defaults` are those of the family's class in transformers.
/// UserError for absurd or contradictory ones, and for another activation than silu.
DecoderSpec read_decoder(const Json& config, const std::string& where, const DecoderSpec& defaults,
                         RopeAxes axes = RopeAxes::One);

/// The sizes of a tower over square pictures, under the keys that CLIP and InternViT share; `defaults` as above.
VisionSpec read_square_vision(const Json& config, const std::string& where, const VisionSpec& defaults);

/// The blocks to run so that the feature is hidden_states[layer]: entry 0 is the embedding and entry n the output of
/// block n - 1; negatives count from the end. UserError naming `key` for a layer that the tower has not.
int64_t blocks_until(int64_t layer, int64_t blocks, const std::string& key, const std::string& where);

/// The id that stands for a visual token in prompts. UserError when it lies outside the vocabulary.
int64_t read_image_token(const Json& config, const std::string& key, const std::string& where, int64_t vocab_size,
                         int64_t default_id);

/// Width, heads, patches of a square picture. UserError for contradictory ones.
void check_vision(const VisionSpec& vision, const std::string& where);

/// A head that the checkpoint holds is used, whatever its config says of tying it to the token embeddings.
void untie_stored_head(const Checkpoint& checkpoint, ModelSpec& spec);

/// eos, bos and pad from generation_config.json, config.json and its object Family::text_key, in this order.
void read_special_ids(const Checkpoint& checkpoint, ModelSpec& spec);

}  // namespace yopo
