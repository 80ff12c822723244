// The two decoders behind images/image.h, and an encoder.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "images/image.h"

namespace yopo {

/// `place` stands in front of every message.
Image decode_png(std::span<const std::byte> file, const std::string& place);
Image decode_jpeg(std::span<const std::byte> file, const std::string& place);

/// A PNG of 8-bit RGB; the same image gives the same bytes.
std::vector<std::byte> encode_png(const Image& image);

/// An image of that size with its pixels allocated and black. UserError past kLargestImage pixels, before any
/// allocation.
Image blank_image(int64_t width, int64_t height, const std::string& place);

}  // namespace yopo
