// What the families around LLaVA share: LLaMA's sizes and CLIP's tower.
#pragma once

#include "core/known_keys.h"
#include "models/spec.h"
#include "models/tensors.h"

namespace yopo {

/// A LLaMA config; defaults are those of transformers' LlamaConfig. Its keys, but for model_type.
DecoderSpec llama_spec(const Json& config, const std::string& where);
const KnownKeys& llama_keys();

/// A CLIP vision config; defaults are those of transformers' CLIPVisionConfig (hidden_act quick_gelu, eps 1e-5).
VisionSpec clip_spec(const Json& config, const std::string& where, int64_t feature_layer);
const KeyReader& clip_reader();

/// The names of CLIP's tower, which SigLIP's shares.
std::vector<TensorName> clip_names();

/// Two layers behind the tower, and the placeholder, which older files call image_token_index; `image_token` where
/// neither name is there.
void read_llava_projector(const Json& config, const std::string& where, int64_t image_token, ModelSpec& spec);

}  // namespace yopo
