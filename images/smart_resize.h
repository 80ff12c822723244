// The size that Qwen2-VL resizes an image to.
#pragma once

#include "images/spec.h"

namespace yopo {

struct ImageSize {
  int64_t height = 0, width = 0;  // pixels
  bool operator==(const ImageSize&) const = default;
};

/// transformers' smart_resize: the multiple of patch_size * merge_size nearest to each side, both scaled together where
/// their product lies outside [min_pixels, max_pixels]. (Sides that are scaled down stay at least one multiple long, so
/// a narrow image may end above max_pixels.) UserError for an aspect ratio above 200, as there.
ImageSize smart_resize(const ImageSpec& spec, ImageSize image);

}  // namespace yopo
