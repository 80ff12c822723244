#include "text/tokenizer.h"

#include "core/error.h"
#include "text/tokenizer_bpe.h"
#include "text/tokenizer_sentencepiece.h"

namespace yopo {

fs::path tokenizer_file(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json"})
    if (fs::exists(folder / name)) return folder / name;
  return folder;
}

TokenizerConfig tokenizer_config(const fs::path& folder) {
  const bool pieces = tokenizer_file(folder).filename() == "tokenizer.model";
  return read_tokenizer_config(folder, pieces ? "LlamaTokenizer" : "");
}

std::unique_ptr<Tokenizer> open_tokenizer(const fs::path& folder) {
  if (fs::exists(folder / "tokenizer.json")) return open_bpe_tokenizer(folder);
  if (fs::exists(folder / "tokenizer.model")) return open_sentencepiece_tokenizer(folder);
  const bool vocab = fs::exists(folder / "vocab.json"), merges = fs::exists(folder / "merges.txt");
  if (vocab && merges) return open_vocab_tokenizer(folder);
  require(!vocab && !merges, "{}: {} without {}", folder.string(), vocab ? "vocab.json" : "merges.txt",
          vocab ? "merges.txt" : "vocab.json");
  fail(
      "{}: no tokenizer; expected tokenizer.json or tokenizer.model, or vocab.json with merges.txt (a checkpoint of "
      "`yopo "
      "random` gets one by `python benchmarks/make_tokenizer.py {}`)",
      folder.string(), folder.string());
}

}  // namespace yopo
