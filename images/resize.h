// The two-pass antialiased resize of Pillow and of torchvision, rounding to uint8 between passes, exactly; and the
// references' pad and crop.
#pragma once

#include <array>

#include "images/image.h"
#include "images/spec.h"

namespace yopo {

/// PIL.Image.resize: filter 2 bilinear or 3 bicubic (a = -0.5), antialiased, 8-bit fixed point, byte for byte as Pillow
/// 13 computes it. Pillow up to 12 gives the same bytes but for images whose height shrinks by more than twice the
/// pixels that their width shrinks by (tall portraits): there version 13 swapped the two passes; smooth pictures differ
/// by a level or two. With ImageBackend::Torchvision: torchvision 0.26's resize of uint8 images on the CPU, whose
/// weights have 16 bits, and which takes columns first always. UserError past kLargestImage pixels.
Image resize(const Image& image, int64_t width, int64_t height, int filter, ImageBackend backend = ImageBackend::Pil);
/// LLaVA's expand2square and LlavaImageProcessor's do_pad: the image centred on a square of `color`.
Image pad_to_square(const Image& image, const std::array<uint8_t, 3>& color);
/// The center_crop of transformers' processors of that backend. Where the image is smaller, both pad with zeros; of an
/// odd number of rows or columns, Pillow's has one more in front, torchvision's one more behind.
Image center_crop(const Image& image, int64_t height, int64_t width, ImageBackend backend = ImageBackend::Pil);

/// UserError for an image without pixels; InternalError unless it holds as many as its size says.
void check_pixels(const Image& image);

}  // namespace yopo
