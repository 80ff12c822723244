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
  /// From GPT-2's two files, vocab.json and merges.txt ("a b" lines, blank ones and a first "#version" line aside). The
  /// same UserErrors, naming file and line; also for a pair given twice, which transformers' two readers rank
  /// differently.
  static BpeModel read(const fs::path& vocab_file, const fs::path& merges_file);

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
  void read_vocab(const Json& vocab, const std::string& where);
  void read_merges(const Json& merges, const std::string& where);
  /// The next merge in rank; whether the pair is new. UserError naming `place` for a token that is not in the
  /// vocabulary.
  bool add_merge(const std::string& left, const std::string& right, const std::string& place);

  std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> vocab_;
  std::unordered_map<int64_t, std::string> tokens_;
  std::unordered_map<uint64_t, Merge> merges_;  // left id << 32 | right id
  uint32_t next_rank_ = 0;
  std::optional<uint32_t> unknown_;
  bool byte_fallback_ = false, fuse_unknown_ = false, ignore_merges_ = false;
};

}  // namespace yopo
