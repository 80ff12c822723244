// Any bytes as a .npy: either a UserError, or as many values as the shape says.
#include <cstdlib>

#include "core/dtype.h"
#include "formats/npy.h"
#include "tests/fuzz/fuzz_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace yopo;
  const fs::path file = fuzz::folder().write("fuzz.npy", fuzz::text_of(data, size));
  fuzz::refused_or([&] {
    const NpyArray array = read_npy(file);
    if (int64_t(array.values.size()) != element_count(array.shape, "shape") || array.values.size() > size) std::abort();
  });
  return 0;
}
