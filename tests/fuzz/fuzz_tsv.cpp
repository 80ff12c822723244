// Any bytes as a TSV: either a UserError, or rows of as many fields as there are columns, each inside the file.
#include <cstdlib>

#include "formats/tsv.h"
#include "tests/fuzz/fuzz_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace yopo;
  const fs::path file = fuzz::folder().write("fuzz.tsv", fuzz::text_of(data, size));
  fuzz::refused_or([&] {
    const Tsv table = read_tsv(file);
    size_t bytes = 0;
    for (const TsvRow& row : table.rows) {
      if (row.fields.size() != table.columns.size() || row.line < 2) std::abort();
      for (const TsvField& field : row.fields)
        for (const char c : table.text(field)) bytes += c != 0;
    }
    if (bytes > size) std::abort();
  });
  return 0;
}
