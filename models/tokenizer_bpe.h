// tokenizer.json of Hugging Face's tokenizers: the subset that LLaMA-type BPE tokenizers use, as data.
#pragma once

#include "models/tokenizer.h"

namespace yopo {

/// Reads `folder`/tokenizer.json. Known components - normalizers: Sequence, Prepend, Replace (string pattern);
/// pre_tokenizer: none, Metaspace; model: BPE; post_processor: none, TemplateProcessing (its single form); decoders:
/// Sequence, Replace (string pattern), ByteFallback, Fuse, Strip, Metaspace. Any other is a UserError naming it: ids
/// that are nearly right would be worse. Added tokens of tokenizer_config.json that tokenizer.json lacks are added, as
/// transformers does; truncation and padding are not applied. Ids equal those of tokenizers 0.22.
std::unique_ptr<Tokenizer> open_bpe_tokenizer(const fs::path& folder);

}  // namespace yopo
