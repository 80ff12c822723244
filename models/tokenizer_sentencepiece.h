// tokenizer.model (sentencepiece) as transformers' LlamaTokenizer applies it.
#pragma once

#include "models/tokenizer.h"

namespace yopo {

/// Reads `folder`/tokenizer.model with tokenizer_config.json, special_tokens_map.json and added_tokens.json where they
/// are. Added tokens are split out of the text first; the parts between go to sentencepiece each on its own. Which of
/// LlamaTokenizer's two behaviours applies is tokenizer_config.json's `legacy`, as in transformers 4.57:
///  - true, or absent (Vicuna's and LLaVA's first checkpoints): every part gets sentencepiece's dummy space in front,
///  so the
///    text after "</s>" starts with "▁" even where no space stands there;
///  - false (LLaVA-1.5): only the whole text gets one, and "▁" typed by the user is a space.
/// `bos` is put in front unless add_bos_token is false, `eos` behind if add_eos_token is true.
std::unique_ptr<Tokenizer> open_sentencepiece_tokenizer(const fs::path& folder);

}  // namespace yopo
