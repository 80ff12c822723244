// Pixels as the model was trained to see them, by the rules of its family's reference processor.
#pragma once

#include <array>
#include <vector>

#include "images/resize.h"
#include "images/spec.h"

namespace yopo {

/// One image as the vision tower takes it.
struct Pixels {
  std::vector<float> values;  // [pictures, 3, height, width]; SmartResize: [patches, 3 * temporal_patch_size * patch^2]
  std::vector<std::array<int64_t, 2>> grids;  // [pictures]: rows and columns of patches of the image, or of each tile
  std::array<int64_t, 2> size{};              // AnyRes: height and width of the image
};

/// The image under the rules of `spec.fit`. Equal bit for bit to the reference of each family (of transformers' here
/// those on Pillow; with ImageBackend::Torchvision those of transformers 5.24 on torchvision):
/// - ShortestEdgeCrop, PadToSquare: process_image, one picture;
/// - SmartResize: transformers' Qwen2VLImageProcessor (4.57, the slow one) for one image: rows of patches in the order
///   (rows / merge, columns / merge, merge, merge), each laid out (3, temporal, patch, patch), the frame repeated;
/// - AnyRes: transformers' LlavaNextImageProcessor and LlavaOnevisionImageProcessor (5.24): the whole image as a base
///   tile, then the tiles of the canvas it fits best, row-major;
/// - Tiles: InternVL2's dynamic_preprocess and transform: tiles row-major, then the thumbnail.
/// UserError (without a place; the caller names the file) for an image without pixels, an aspect ratio that the
/// reference refuses, a size that cannot be cut into patches, and for what would take more than kLargestImage pixels,
/// or more values than those of two frames of them.
Pixels process_pixels(const ImageSpec& spec, const Image& image);

/// [3, height, width] floats for ShortestEdgeCrop and PadToSquare, equal bit for bit to transformers'
/// CLIPImageProcessor (4.57, the slow one) and to LLaVA's own preprocessing: fit, resize, crop, rescale, normalise in
/// the order and precision of the reference processors.
std::vector<float> process_image(const ImageSpec& spec, const Image& image);

}  // namespace yopo
