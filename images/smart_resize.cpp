#include "images/smart_resize.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace yopo {

ImageSize smart_resize(const ImageSpec& spec, ImageSize image) {
  constexpr double kLargestRatio = 200;
  ensure(image.height > 0 && image.width > 0, "smart_resize of an image without pixels");
  ensure(spec.min_pixels > 0 && spec.min_pixels <= spec.max_pixels, "smart_resize without bounds");
  const double ratio = double(std::max(image.height, image.width)) / double(std::min(image.height, image.width));
  require(ratio <= kLargestRatio, "an image of {} x {} pixels: expected an aspect ratio of at most {}, found {:.4g}",
          image.width, image.height, kLargestRatio, ratio);

  const int64_t step = spec.patch_size * spec.merge_size;
  const double factor = double(step), height = double(image.height), width = double(image.width);
  // Python's round and nearbyint both take halves to the even side. A side shorter than half a step becomes 0 here and
  // is scaled up below, since min_pixels is above 0.
  const ImageSize nearest{int64_t(std::nearbyint(height / factor)) * step,
                          int64_t(std::nearbyint(width / factor)) * step};
  const int64_t pixels = nearest.height * nearest.width;
  if (pixels > spec.max_pixels) {
    const double beta = std::sqrt(height * width / double(spec.max_pixels));
    return {std::max(step, int64_t(std::floor(height / beta / factor)) * step),
            std::max(step, int64_t(std::floor(width / beta / factor)) * step)};
  }
  if (pixels < spec.min_pixels) {
    const double beta = std::sqrt(double(spec.min_pixels) / (height * width));
    return {int64_t(std::ceil(height * beta / factor)) * step, int64_t(std::ceil(width * beta / factor)) * step};
  }
  return nearest;
}

}  // namespace yopo
