#include "models/tokenizer.h"

#include "core/error.h"
#include "models/tokenizer_bpe.h"
#include "models/tokenizer_sentencepiece.h"

namespace yopo {

std::unique_ptr<Tokenizer> open_tokenizer(const fs::path& folder) {
  if (fs::exists(folder / "tokenizer.json")) return open_bpe_tokenizer(folder);
  if (fs::exists(folder / "tokenizer.model")) return open_sentencepiece_tokenizer(folder);
  fail("{}: no tokenizer; expected tokenizer.json or tokenizer.model", folder.string());
}

}  // namespace yopo
