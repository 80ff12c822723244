// The components of tokenizer.json around its model: text rewritten before it, tokens rewritten after it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace yopo::tokenizer_parts {

/// One rewriting of text, before the model or (token by token) after it.
struct Rewrite {
  enum class Kind { Prepend, Replace, ByteFallback, Fuse, Strip, Metaspace } kind;
  std::string from, to;        // Prepend: `to`; Replace: both; Strip: `from` (one character); Metaspace: `from`
  size_t start = 0, stop = 0;  // Strip: at most so many characters at each end
  bool first_only = false;     // Metaspace: the first token's own marks are dropped
};

struct Metaspace {
  std::string mark = "\xE2\x96\x81";  // U+2581
  enum class Prepend { Always, First, Never } prepend = Prepend::Always;
  bool split = true;
};

/// Ids in front of and behind the text's own.
struct Template {
  std::vector<int64_t> before, after;
};

/// The readers of the four components. `object` is null where the file has none; a component that is not known is a
/// UserError naming `where` and the component.
std::vector<Rewrite> read_normalizer(const Json& object, const std::string& where);
std::optional<Metaspace> read_pre_tokenizer(const Json& object, const std::string& where);
Template read_post_processor(const Json& object, const std::string& where);
std::vector<Rewrite> read_decoder(const Json& object, const std::string& where);

/// The text that the rewrites of a normalizer make of `text`.
std::string normalize(const std::vector<Rewrite>& rewrites, std::string text);
/// The text that the rewrites of a decoder make of tokens.
std::string decode_tokens(const std::vector<Rewrite>& rewrites, std::vector<std::string> tokens);

}  // namespace yopo::tokenizer_parts
