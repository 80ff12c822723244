// Tokenizers: Hugging Face tokenizer.json (BPE with byte fallback and byte-level BPE) and sentencepiece
// tokenizer.model.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "text/added_tokens.h"

namespace yopo {

/// All members may be called from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Ids of a text; special tokens in the text are recognised; `add_bos` as the tokenizer's own post-processor would.
  virtual std::vector<int64_t> encode(std::string_view text, bool add_special = true) const = 0;
  /// The text of ids; special tokens are skipped if asked.
  virtual std::string decode(const std::vector<int64_t>& ids, bool skip_special = true) const = 0;
  virtual int64_t vocab_size() const = 0;
  /// Id of a token's text, or -1.
  virtual int64_t id_of(std::string_view token) const = 0;
};

/// tokenizer.json if there (every component it names must be known: UserError naming the component), else
/// tokenizer.model (sentencepiece), else vocab.json with merges.txt (Qwen2's older form), each with added_tokens.json /
/// tokenizer_config.json. UserError if the folder has none of them.
std::unique_ptr<Tokenizer> open_tokenizer(const fs::path& folder);

/// The file that open_tokenizer begins with; the folder itself where it has none.
fs::path tokenizer_file(const fs::path& folder);

/// What tokenizer_config.json and its like say, with the special tokens of the class where they name none.
TokenizerConfig tokenizer_config(const fs::path& folder);

}  // namespace yopo
