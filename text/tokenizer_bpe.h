// tokenizer.json of Hugging Face's tokenizers: the subset that LLaMA-type and byte-level BPE tokenizers use, as data.
#pragma once

#include "text/tokenizer.h"

namespace yopo {

/// Reads `folder`/tokenizer.json. Known components - normalizers: Sequence, Prepend, Replace (string pattern), NFC;
/// pre_tokenizer: none, Sequence, Metaspace, Split (regular expression, isolated), ByteLevel; model: BPE;
/// post_processor: none, Sequence, ByteLevel, TemplateProcessing (its single form); decoders: Sequence, Replace (string
/// pattern), ByteFallback, ByteLevel, Fuse, Strip, Metaspace. Any other is a UserError naming it: ids that are nearly
/// right would be worse. As transformers 4.57 does, tokenizer_config.json's added tokens are added, or replace the
/// flags of those that are there; bos and eos of a LlamaTokenizer or InternLM2Tokenizer follow its add_bos_token and
/// add_eos_token; and blanks go with clean_up_tokenization_spaces. Truncation and padding are not applied. Ids equal
/// those of tokenizers 0.22.
std::unique_ptr<Tokenizer> open_bpe_tokenizer(const fs::path& folder);

/// Reads the older form of Qwen2's tokenizer: `folder`/vocab.json and merges.txt, with added_tokens.json or
/// tokenizer_config.json, as transformers converts it. UserError where tokenizer_config.json names another class.
std::unique_ptr<Tokenizer> open_vocab_tokenizer(const fs::path& folder);

}  // namespace yopo
