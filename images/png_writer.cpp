#include <png.h>

#include "core/error.h"
#include "images/codecs.h"
#include "images/resize.h"

namespace yopo {

std::vector<std::byte> encode_png(const Image& image) {
  check_pixels(image);
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = png_uint_32(image.width);
  header.height = png_uint_32(image.height);
  header.format = PNG_FORMAT_RGB;
  std::vector<std::byte> bytes(PNG_IMAGE_PNG_SIZE_MAX(header));
  png_alloc_size_t size = bytes.size();
  const bool written = png_image_write_to_memory(&header, bytes.data(), &size, 0, image.rgb.data(), 0, nullptr) != 0;
  ensure(written && size <= bytes.size(), "a PNG that could not be written");
  bytes.resize(size);
  return bytes;
}

}  // namespace yopo
