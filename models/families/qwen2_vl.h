// Qwen2-VL (Wang et al., arXiv 2409.12191): Qwen2 with M-RoPE, a ViT with rotary embedding and pictures of any size.
#pragma once

#include "models/spec.h"

namespace yopo {

/// The spec of a Qwen2VLForConditionalGeneration config, flat (as published) or with text_config; absent keys take
/// transformers' class defaults.
ModelSpec qwen2_vl_spec(const Json& config, const std::string& where);

/// Fills what needs the checkpoint: key prefixes, dtype, special tokens, image rules of preprocessor_config.json.
void locate_qwen2_vl_tensors(const Checkpoint& checkpoint, ModelSpec& spec);

}  // namespace yopo
