// Pillow's two-pass antialiased resize, rounding to uint8 between passes, exactly; and the reference's pad and crop.
#pragma once

#include <array>

#include "images/image.h"

namespace yopo {

/// PIL.Image.resize: filter 2 bilinear or 3 bicubic (a = -0.5), antialiased, 8-bit fixed point, byte for byte as Pillow
/// 13 computes it. Pillow up to 12 gives the same bytes but for images whose height shrinks by more than twice the
/// pixels that their width shrinks by (tall portraits): there version 13 swapped the two passes; smooth pictures differ
/// by a level or two. UserError past kLargestImage pixels.
Image resize(const Image& image, int64_t width, int64_t height, int filter);
/// LLaVA's expand2square: the image centred on a square of int(mean * 255).
Image pad_to_square(const Image& image, const std::array<float, 3>& mean);
/// transformers' center_crop (pads with zeros when the image is smaller).
Image center_crop(const Image& image, int64_t height, int64_t width);

/// UserError for an image without pixels; InternalError unless it holds as many as its size says.
void check_pixels(const Image& image);

}  // namespace yopo
