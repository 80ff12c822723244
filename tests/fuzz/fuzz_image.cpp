// Any bytes as a PNG or JPEG, in a file and as base64 inside one: either a UserError, or all pixels of the picture.
#include <cstdlib>

#include "images/image.h"
#include "tests/fuzz/fuzz_files.h"

namespace {

void check(const yopo::Image& image) {
  if (image.width <= 0 || image.height <= 0 || image.width * image.height > yopo::kLargestImage) std::abort();
  if (image.rgb.size() != size_t(image.width) * size_t(image.height) * 3) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace yopo;
  const fs::path file = fuzz::folder().write("fuzz.png", fuzz::text_of(data, size));
  fuzz::refused_or([&] { check(read_image(file, "fuzz")); });
  fuzz::refused_or([&] {
    const EncodedImage encoded{MappedFile::open(file), 0, size};
    check_image(encoded, "fuzz");
    check(read_image(encoded, "fuzz"));
  });
  return 0;
}
