// Any files of a tokenizer, parts that lines "===" keep apart: tokenizer.json, or vocab.json and merges.txt, each with
// tokenizer_config.json; or behind a first line "model" any bytes as tokenizer.model. Either a UserError, or a
// tokenizer whose ids are in its vocabulary and become text again.
#include <cstdlib>

#include "tests/fuzz/fuzz_files.h"
#include "text/tokenizer.h"

namespace {

void use(const yopo::Tokenizer& tokenizer) {
  for (const char* text :
       {"", "a", "Hello, world 12!\n", "<s><image>\xC3\xA9\xE2\x80\xA8\xF0\x9F\x98\x80\xFF", "   x"}) {
    const std::vector<int64_t> ids = tokenizer.encode(text);
    for (const int64_t id : ids)
      if (id < 0) std::abort();
    tokenizer.decode(ids);
    tokenizer.decode(ids, false);
  }
  tokenizer.id_of("a");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace yopo;
  const fs::path folder = fuzz::folder().path();
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "tokenizer_config.json"})
    fs::remove(folder / name);
  constexpr std::string_view model = "model\n";
  const std::string_view text = fuzz::text_of(data, size);
  if (text.starts_with(model)) {
    fuzz::folder().write("tokenizer.model", text.substr(model.size()));
  } else {
    const auto parts = fuzz::parts_of(text, 3);
    if (!parts[1].empty()) fuzz::folder().write("tokenizer_config.json", parts[1]);
    fuzz::folder().write(parts[2].empty() ? "tokenizer.json" : "vocab.json", parts[0]);
    if (!parts[2].empty()) fuzz::folder().write("merges.txt", parts[2]);
  }
  fuzz::refused_or([&] { use(*open_tokenizer(folder)); });
  return 0;
}
