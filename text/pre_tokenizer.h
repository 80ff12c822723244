// The pre_tokenizer of tokenizer.json: how a text is cut and rewritten before byte-pair encoding.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/json.h"
#include "text/split_pattern.h"

namespace yopo {

/// Spaces become a mark, and a mark may be put in front.
struct Metaspace {
  std::string mark = "\xE2\x96\x81";  // U+2581
  enum class Prepend { Always, First, Never } prepend = Prepend::Always;
  bool split = true;  // every mark starts a piece of its own
};

/// Every byte becomes a printable character (GPT-2's alphabet).
struct ByteLevel {
  bool add_prefix_space = true;
  bool use_regex = true;  // cut by GPT-2's pattern first
};

using PreTokenizer = std::variant<Metaspace, SplitPattern, ByteLevel>;

/// The steps of `object`, null or a Sequence or one component: Metaspace, ByteLevel, Split (a Regex, behaviour
/// Isolated, not inverted). UserError naming `where` and the component for any other.
std::vector<PreTokenizer> read_pre_tokenizer(const Json& object, const std::string& where);
/// {"type": "Metaspace", ...}, which decoders have, too.
Metaspace parse_metaspace(const Json& object, const std::string& where);

/// The pieces that the steps make of `text` (well-formed UTF-8); `first`: nothing of the whole text came before it.
std::vector<std::string> pre_tokenize(const std::vector<PreTokenizer>& steps, std::string_view text, bool first);

/// GPT-2's alphabet: each byte as a character of its own.
std::string bytes_to_characters(std::string_view bytes);
/// The bytes of a token; one with a character outside of the alphabet stands for itself, as in the reference.
std::string characters_to_bytes(std::string_view token);

}  // namespace yopo
