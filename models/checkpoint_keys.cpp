#include "models/checkpoint_keys.h"

#include <algorithm>

#include "core/section.h"
#include "models/families/common_keys.h"
#include "models/family.h"
#include "text/tokenizer_keys.h"

namespace yopo {

std::vector<const KeyReader*> checkpoint_key_readers() {
  std::vector<const KeyReader*> readers = {&common_reader(),           &rope_reader(),
                                           &processor_reader(),        &generation_reader(),
                                           &tokenizer_config_reader(), &tokenizer_reader()};
  for (const Family* family : families())
    for (const KeyReader* reader : family->readers)  // families share some
      if (std::find(readers.begin(), readers.end(), reader) == readers.end()) readers.push_back(reader);
  return readers;
}

std::string checkpoint_key_table() { return key_table(checkpoint_key_readers()); }

std::string with_checkpoint_keys(const std::string& text, const std::string& where) {
  return with_section(text, "<!-- keys: written by `yopo options --write docs/formats.md` from models/families/ -->",
                      "<!-- /keys -->", checkpoint_key_table() + "\n", where);
}

}  // namespace yopo
