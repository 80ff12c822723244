// tokenizer.model (sentencepiece) as transformers' LlamaTokenizer and InternLM2's own class apply it.
#pragma once

#include "text/tokenizer.h"

namespace yopo {

/// Reads `folder`/tokenizer.model with tokenizer_config.json, special_tokens_map.json and added_tokens.json where they
/// are. Added tokens are split out of the text first; the parts between go to sentencepiece each on its own. What else
/// happens is the class's that tokenizer_config.json names (LlamaTokenizer where it names none):
///  - LlamaTokenizer (LLaMA, Vicuna, Phi-3), `legacy` true or absent: every part gets sentencepiece's dummy space in
///  front,
///    so the text after "</s>" starts with "▁" even where no space stands there;
///  - LlamaTokenizer, `legacy` false: only the whole text gets one, and "▁" typed by the user is a space;
///  - InternLM2Tokenizer: encodes as the first; decoding puts a blank before every special token that follows another
///    text, and takes blanks in front of English punctuation away.
/// `bos` is put in front unless add_bos_token is false, `eos` behind if add_eos_token is true. Ids and texts equal
/// those of transformers 4.57 (its slow class; InternLM2's comes with the checkpoint). Any other class is a UserError.
std::unique_ptr<Tokenizer> open_sentencepiece_tokenizer(const fs::path& folder);

}  // namespace yopo
