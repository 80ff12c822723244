// The language models of the Qwen series as other families hold them: transformers' Qwen2 and Qwen3, dense.
#pragma once

#include "core/known_keys.h"
#include "models/families/rope_config.h"
#include "models/spec.h"

namespace yopo {

/// The sizes under the keys of transformers' Qwen2Config; q, k and v have biases. UserError for sliding windows.
DecoderSpec qwen2_text(const Json& config, const std::string& where, RopeAxes axes = RopeAxes::One);
/// The same of Qwen3Config: q and k are normed over each head, and have no bias unless the config says so.
DecoderSpec qwen3_text(const Json& config, const std::string& where, RopeAxes axes = RopeAxes::One);

/// Their keys, but for those that say which model it is and whether the head is tied: a family adds what it reads.
KnownKeys qwen2_keys();
KnownKeys qwen3_keys();

}  // namespace yopo
