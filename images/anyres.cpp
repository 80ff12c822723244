#include "images/anyres.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "images/resize.h"

namespace yopo {

std::array<int64_t, 2> best_resolution(const ImageSpec& spec, int64_t height, int64_t width) {
  ensure(!spec.resolutions.empty() && height > 0 && width > 0, "an image and canvases for it");
  std::array<int64_t, 2> best = spec.resolutions.front();
  int64_t most = 0, least = std::numeric_limits<int64_t>::max();
  for (const auto& canvas : spec.resolutions) {
    const double scale = std::min(double(canvas[1]) / double(width), double(canvas[0]) / double(height));
    const int64_t shown = std::min(int64_t(double(width) * scale) * int64_t(double(height) * scale), width * height);
    const int64_t wasted = canvas[0] * canvas[1] - shown;
    if (shown < most || (shown == most && wasted >= least)) continue;
    most = shown, least = wasted, best = canvas;
  }
  return best;
}

Image on_canvas(const ImageSpec& spec, const Image& image, const std::array<int64_t, 2>& canvas) {
  // transformers' get_patch_output_size: the tighter side fills the canvas, the other is rounded up.
  const double across = double(canvas[1]) / double(image.width), down = double(canvas[0]) / double(image.height);
  int64_t height = canvas[0], width = canvas[1];
  if (across < down)
    height = std::min(int64_t(std::ceil(double(image.height) * across)), canvas[0]);
  else
    width = std::min(int64_t(std::ceil(double(image.width) * down)), canvas[1]);
  const Image fitted = resize(image, width, height, spec.resample, spec.backend);
  Image whole{canvas[1], canvas[0], std::vector<uint8_t>(size_t(canvas[0] * canvas[1] * 3), 0)};
  const int64_t top = (canvas[0] - height) / 2, left = (canvas[1] - width) / 2;
  for (int64_t y = 0; y < height; ++y)
    std::copy_n(fitted.rgb.begin() + y * width * 3, width * 3, whole.rgb.begin() + ((top + y) * canvas[1] + left) * 3);
  return whole;
}

}  // namespace yopo
