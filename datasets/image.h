// Image files as 8-bit RGB.
#pragma once

#include <cstdint>
#include <vector>

#include "core/file.h"

namespace yopo {

/// Pixels of the largest image that is read or made: PIL's own limit against decompression bombs.
inline constexpr int64_t kLargestImage = 178'956'970;

struct Image {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

/// PNG (libpng) and JPEG (libjpeg-turbo), recognised by content. Grey, palette, alpha and 16-bit PNGs become RGB as
/// PIL's convert("RGB") makes them; CMYK JPEGs likewise. UserError naming `where` and the file for anything else, for
/// damaged or truncated data, and for more than 178,956,970 pixels (PIL's own bomb limit).
Image read_image(const fs::path& path, const std::string& where);

}  // namespace yopo
