// InternVL2 (Chen et al., arXiv 2404.16821): InternViT, pixel shuffle and one of several language models.
#pragma once

#include "models/spec.h"

namespace yopo {

/// The spec of an InternVLChatModel config; llm_config.architectures names the language model: InternLM2ForCausalLM
/// (2B, 8B, 26B) or Phi3ForCausalLM (4B). Absent keys take the defaults of the published configuration classes.
ModelSpec internvl2_spec(const Json& config, const std::string& where);

/// Fills what needs the checkpoint: dtype, and from the tokenizer's files the ids of <IMG_CONTEXT> and of the end of a
/// turn.
void locate_internvl2_tensors(const Checkpoint& checkpoint, ModelSpec& spec);

}  // namespace yopo
