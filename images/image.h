// Image files as 8-bit RGB.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/file.h"

namespace yopo {

/// Pixels of the largest image that is read or made: PIL's own limit against decompression bombs.
inline constexpr int64_t kLargestImage = 178'956'970;

struct Image {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
  int orientation = 1;       // what the file's Exif block says, not applied: 1 to 8 (images/exif.h)
};

/// PNG (libpng) and JPEG (libjpeg-turbo), recognised by content. Grey, palette, alpha and 16-bit PNGs become RGB as
/// PIL's convert("RGB") makes them; CMYK JPEGs likewise. UserError naming `where` and the file for anything else, for
/// damaged or truncated data, and for more than 178,956,970 pixels (PIL's own bomb limit).
Image read_image(const fs::path& path, const std::string& where);

/// An image that lies inside a file as base64 text (MMBench's TSV): a reference into the mapping, decoded when needed,
/// so that the file is never held in memory.
struct EncodedImage {
  std::shared_ptr<const MappedFile> file;
  size_t offset = 0, size = 0;  // bytes of the base64 text
  std::string_view text() const { return {reinterpret_cast<const char*>(file->bytes().data()) + offset, size}; }
};
/// As above. UserError naming `where` and the file also for what is no base64.
Image read_image(const EncodedImage& image, const std::string& where);
/// UserError naming `place` unless the text is base64 whose first bytes are those of a PNG or JPEG; decodes no more.
void check_image(const EncodedImage& image, const std::string& place);

}  // namespace yopo
