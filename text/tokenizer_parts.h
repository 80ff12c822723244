// The components of tokenizer.json around its model: text rewritten before it, tokens rewritten after it.
// text/pre_tokenizer.h has the remaining one, which cuts the text.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"

namespace yopo::tokenizer_parts {

/// One rewriting of text, before the model or (token by token) after it.
struct Rewrite {
  enum class Kind { Prepend, Replace, Nfc, ByteFallback, ByteLevel, Fuse, Strip, Metaspace } kind;
  std::string from, to;        // Prepend: `to`; Replace: both; Strip: `from` (one character); Metaspace: `from`
  size_t start = 0, stop = 0;  // Strip: at most so many characters at each end
  bool first_only = false;     // Metaspace: the first token's own marks are dropped
};

/// Ids in front of and behind the text's own.
struct Template {
  std::vector<int64_t> before, after;
};

/// The readers of the components. `object` is null where the file has none; a component that is not known is a
/// UserError naming `where` and the component.
std::vector<Rewrite> read_normalizer(const Json& object, const std::string& where);
Template read_post_processor(const Json& object, const std::string& where);
std::vector<Rewrite> read_decoder(const Json& object, const std::string& where);

/// The text that the rewrites of a normalizer make of `text`.
std::string normalize(const std::vector<Rewrite>& rewrites, std::string text);
/// The text that the rewrites of a decoder make of tokens.
std::string decode_tokens(const std::vector<Rewrite>& rewrites, std::vector<std::string> tokens);
/// clean_up_tokenization of transformers: blanks in front of English punctuation and contractions go.
std::string clean_up_spaces(std::string text);

/// Flattens {"type": "Sequence", `list`: [...]} into its members; null has none.
std::vector<Json> members(const Json& object, const char* list, const std::string& where);
[[noreturn]] void unknown_component(const std::string& where, const std::string& type,
                                    const std::vector<std::string>& known);

}  // namespace yopo::tokenizer_parts
