// Byte-pair encoding as Hugging Face's tokenizers apply it to one piece of text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json.h"

namespace yopo {

class BpeModel {
 public:
  /// From the "model" object of tokenizer.json. UserError naming `where` for: another type than BPE, dropout, subword
  /// prefixes or suffixes, an id outside [0, 2^31) or given twice, an unknown token or a merge that is not in the
  /// vocabulary.
  static BpeModel parse(const Json& model, const std::string& where);

  /// Appends the ids of a piece of well-formed UTF-8. O(n log n).
  void encode(std::string_view piece, std::vector<int64_t>& ids) const;
  /// Id of a token's text, or -1.
  int64_t id_of(std::string_view token) const;
  const std::unordered_map<int64_t, std::string>& tokens() const { return tokens_; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Merge {
    uint32_t rank;
    uint32_t id;
  };
  std::vector<uint32_t> symbols(std::string_view piece) const;
  void read_merges(const Json& merges, const std::string& where);

  std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> vocab_;
  std::unordered_map<int64_t, std::string> tokens_;
  std::unordered_map<uint64_t, Merge> merges_;  // left id << 32 | right id
  std::optional<uint32_t> unknown_;
  bool byte_fallback_ = false, fuse_unknown_ = false, ignore_merges_ = false;
};

}  // namespace yopo
