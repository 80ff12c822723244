// Tokens that are recognised in the text before the vocabulary's own model sees it: <s>, <image>, <pad>.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json.h"

namespace yopo {

/// Of a token: ids are 32-bit integers to every tokenizer.
inline constexpr int64_t kLargestId = (int64_t(1) << 31) - 1;

struct AddedToken {
  std::string content;
  int64_t id = -1;           // -1: not known yet
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;       // ... on its right
  bool single_word = false;  // only where no word character touches it
  bool normalized = true;    // looked for in the normalised text
  bool special = false;      // skipped when decoding without special tokens
};

/// {"content", "lstrip", ...} as tokenizer.json and tokenizer_config.json write it; `id` is left to the caller.
/// UserError naming `where` for a missing or empty content or a flag that is no boolean.
AddedToken parse_added_token(const Json& object, const std::string& where);

/// What tokenizer_config.json (and special_tokens_map.json, added_tokens.json of older checkpoints) says about a
/// tokenizer.
struct TokenizerConfig {
  std::vector<AddedToken> added;        // with ids, ascending
  bool flags_given = false;             // `added` is added_tokens_decoder, whose flags come before tokenizer.json's
  std::vector<AddedToken> special;      // bos, eos, unk, pad, ... without ids, each content once
  std::vector<std::string> additional;  // contents that additional_special_tokens names
  std::string tokenizer_class;          // without "Fast" at its end
  bool legacy = true;                   // LlamaTokenizer: behaviour before transformers 4.31
  bool add_bos_token = true, add_eos_token = false, add_prefix_space = true;
  bool clean_up_spaces = false;  // clean_up_tokenization_spaces: blanks before punctuation go in decoding
  std::string bos_token, eos_token, unk_token;  // empty: none
  /// LlamaTokenizer and InternLM2Tokenizer put bos and eos around the text themselves, whatever tokenizer.json says.
  bool is_llama() const { return tokenizer_class == "LlamaTokenizer" || tokenizer_class == "InternLM2Tokenizer"; }
};
/// Reads what is there; `fallback_class` is the class where tokenizer_config.json names none, and the class has the
/// special tokens that no file names: <s>, </s>, <unk> for LLaMA's and InternLM2's, <|endoftext|> for Qwen2's.
/// UserError naming file and key for a wrong type, an id outside [0, 2^31), an id or a content given twice.
TokenizerConfig read_tokenizer_config(const fs::path& folder, const std::string& fallback_class);

/// Finds the leftmost, then longest, of many strings in a text.
class TokenTrie {
 public:
  /// `token` must not be empty; a token added twice keeps its first value.
  void add(std::string_view token, size_t value);
  bool empty() const { return next_.empty(); }
  struct Match {
    size_t start, end, value;
  };
  std::optional<Match> find(std::string_view text, size_t from) const;

 private:
  static constexpr size_t kNone = size_t(-1);
  std::unordered_map<uint64_t, uint32_t> next_;  // node << 8 | byte -> node
  std::vector<size_t> values_{kNone};            // by node: the value of the token that ends there
  std::array<bool, 256> starts_{};               // bytes some token starts with
};

}  // namespace yopo
