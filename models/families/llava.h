// LLaVA-1.5 in its three layouts: llava-hf (old and new key prefixes) and the original with a separate CLIP tower.
#pragma once

#include "models/spec.h"

namespace yopo {

/// The spec of a LlavaForConditionalGeneration or LlavaLlamaForCausalLM config; absent keys take transformers' class
/// defaults. The vision sizes of an original config come from its tower and are filled in by locate_llava_tensors.
ModelSpec llava_spec(const Json& config, const std::string& where);

/// Fills what needs the checkpoint: key prefixes, dtype, the original layout's tower, image rules of
/// preprocessor_config.json.
void locate_llava_tensors(const Checkpoint& checkpoint, ModelSpec& spec);

/// How llava-hf names its tensors behind the prefixes.
const std::vector<TensorName>& llava_hf_names();

}  // namespace yopo
