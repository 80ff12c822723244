// The orientation that cameras write beside an image's pixels.
#pragma once

#include <cstddef>
#include <span>

#include "images/image.h"

namespace yopo {

/// The tag Orientation of an Exif block: the TIFF part, behind "Exif\0\0". 1 (as it is) where the block has none, or
/// one outside 2 to 8, or is damaged: such a file is read as if it had no block.
int exif_orientation(std::span<const std::byte> tiff);
/// The same of a JPEG file, from its first APP1 segment with an Exif block.
int jpeg_orientation(std::span<const std::byte> file);

/// The image turned and mirrored as its orientation says, as PIL's ImageOps.exif_transpose does; its orientation is 1.
Image upright(const Image& image);

}  // namespace yopo
