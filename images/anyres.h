// Images cut into a base tile and the tiles of a canvas, as LLaVA-NeXT and LLaVA-OneVision do.
#pragma once

#include <array>

#include "images/image.h"
#include "images/spec.h"

namespace yopo {

/// Height and width of the canvas that shows most of an image of this size, and of those that show as much the one that
/// wastes least: transformers' select_best_resolution.
std::array<int64_t, 2> best_resolution(const ImageSpec& spec, int64_t height, int64_t width);

/// The image resized to fit the canvas, black around it, centred.
Image on_canvas(const ImageSpec& spec, const Image& image, const std::array<int64_t, 2>& canvas);

}  // namespace yopo
