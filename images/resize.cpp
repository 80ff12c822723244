#include "images/resize.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace yopo {

namespace {

// Pillow's fixed point: 8 bits of value, 2 bits for sums that overshoot, the rest of 32 for the fraction.
constexpr int kPillowPrecision = 32 - 8 - 2;

/// The fraction's bits in torchvision: as many as leave the largest weight in 16 bits, sign included, and at most 22.
int torchvision_precision(double largest) {
  int precision = 0;
  while (precision < 22 && std::lround(largest * double(1 << (precision + 1))) < (1 << 15)) ++precision;
  return precision;
}

double bilinear(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

/// Keys' cubic convolution kernel with a = -0.5.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

/// The source pixels [first, first + count) of one target pixel; their weights start at `weight`.
struct Tap {
  int64_t first, count;
  size_t weight;
};
struct Taps {
  std::vector<Tap> taps;         // [out]
  std::vector<int32_t> weights;  // fixed point, the taps' one behind the other
  int precision = 0;             // bits of their fraction

  int32_t half() const { return precision == 0 ? 0 : 1 << (precision - 1); }
  uint8_t clip(int32_t sum) const { return uint8_t(std::clamp(sum >> precision, 0, 255)); }
};

/// Weights of a one-dimensional resize, computed in double in the order of Pillow's precompute_coeffs, so that they
/// round to the same integers. The kernel widens with the scale when shrinking (antialiasing) and never narrows.
Taps make_taps(int64_t in, int64_t out, int filter, ImageBackend backend) {
  const double scale = double(in) / double(out);
  const double kernel_scale = std::max(scale, 1.0);
  const double support = (filter == 2 ? 1.0 : 2.0) * kernel_scale;
  const double inverse = 1.0 / kernel_scale;
  Taps result;
  result.taps.reserve(size_t(out));
  std::vector<double> weights;  // of all taps
  double largest = 0;
  for (int64_t i = 0; i < out; ++i) {
    const double center = (double(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(int64_t(std::trunc(center - support + 0.5)), 0);
    const int64_t last = std::min<int64_t>(int64_t(std::trunc(center + support + 0.5)), in);
    const size_t start = weights.size();
    double total = 0;
    for (int64_t j = first; j < last; ++j) {
      const double at = (double(j - first) + double(first) - center + 0.5) * inverse;
      weights.push_back(filter == 2 ? bilinear(at) : bicubic(at));
      total += weights.back();
    }
    result.taps.push_back({first, last - first, start});
    for (size_t j = start; j < weights.size(); ++j) {
      if (total != 0.0) weights[j] /= total;
      largest = std::max(largest, weights[j]);
    }
  }
  result.precision = backend == ImageBackend::Pil ? kPillowPrecision : torchvision_precision(largest);
  result.weights.reserve(weights.size());
  for (const double weight : weights) {
    const double fixed = weight * double(1 << result.precision);
    result.weights.push_back(int32_t(fixed < 0 ? fixed - 0.5 : fixed + 0.5));  // half away from zero
  }
  return result;
}

/// Rows [first_row, first_row + rows) of `image`, resized to taps.size() columns.
Image resize_columns(const Image& image, const Taps& taps, int64_t first_row, int64_t rows) {
  Image out{int64_t(taps.taps.size()), rows, {}};
  out.rgb.resize(size_t(out.width) * size_t(rows) * 3);
  for (int64_t y = 0; y < rows; ++y) {
    const uint8_t* row = image.rgb.data() + size_t(first_row + y) * size_t(image.width) * 3;
    uint8_t* to = out.rgb.data() + size_t(y) * size_t(out.width) * 3;
    for (const Tap& tap : taps.taps) {
      int32_t sum[3] = {taps.half(), taps.half(), taps.half()};
      for (int64_t i = 0; i < tap.count; ++i)
        for (int c = 0; c < 3; ++c) sum[c] += row[(tap.first + i) * 3 + c] * taps.weights[tap.weight + size_t(i)];
      for (int c = 0; c < 3; ++c) *to++ = taps.clip(sum[c]);
    }
  }
  return out;
}

/// `image` (whose row 0 is row first_row of what the taps count in), resized to taps.size() rows.
Image resize_rows(const Image& image, const Taps& taps, int64_t first_row) {
  Image out{image.width, int64_t(taps.taps.size()), {}};
  const size_t row_bytes = size_t(image.width) * 3;
  out.rgb.resize(row_bytes * size_t(out.height));
  std::vector<int32_t> sums(row_bytes);
  for (size_t y = 0; y < taps.taps.size(); ++y) {
    const Tap& tap = taps.taps[y];
    std::fill(sums.begin(), sums.end(), taps.half());
    for (int64_t i = 0; i < tap.count; ++i) {
      const uint8_t* row = image.rgb.data() + size_t(tap.first - first_row + i) * row_bytes;
      const int32_t weight = taps.weights[tap.weight + size_t(i)];
      for (size_t x = 0; x < row_bytes; ++x) sums[x] += row[x] * weight;
    }
    std::transform(sums.begin(), sums.end(), out.rgb.begin() + std::ptrdiff_t(y * row_bytes),
                   [&](int32_t sum) { return taps.clip(sum); });
  }
  return out;
}

void check_size(int64_t width, int64_t height, const Image& from) {
  require(width > 0 && height > 0 && width <= kLargestImage / height,
          "an image of {} x {} pixels would become {} x {}; expected 1 to {} pixels", from.width, from.height, width,
          height, kLargestImage);
}

int64_t floor_half(int64_t x) { return x >= 0 ? x / 2 : -((1 - x) / 2); }

}  // namespace

void check_pixels(const Image& image) {
  require(image.width > 0 && image.height > 0, "an image of {} x {} pixels; expected at least 1 x 1", image.width,
          image.height);
  ensure(image.rgb.size() == size_t(image.width) * size_t(image.height) * 3, "an image's size and pixels differ");
}

Image resize(const Image& image, int64_t width, int64_t height, int filter, ImageBackend backend) {
  check_pixels(image);
  check_size(width, height, image);
  ensure(filter == 2 || filter == 3, "resize knows filters 2 and 3");
  if (width == image.width && height == image.height) return image;
  const Taps horizontal = make_taps(image.width, width, filter, backend);
  if (height == image.height) return resize_columns(image, horizontal, 0, height);
  const Taps vertical = make_taps(image.height, height, filter, backend);
  if (width == image.width) return resize_rows(image, vertical, 0);
  // Rounding between the passes makes their order matter. Pillow 13 takes rows first where the height loses more than
  // twice the pixels that the width loses; Pillow up to 12 and torchvision take columns first always.
  if (backend == ImageBackend::Pil && image.height > height && image.height - height > 2 * (image.width - width)) {
    check_size(image.width, height, image);
    return resize_columns(resize_rows(image, vertical, 0), horizontal, 0, height);
  }
  // Only the rows that the second pass reads.
  const int64_t first_row = vertical.taps.front().first;
  const int64_t end_row = vertical.taps.back().first + vertical.taps.back().count;
  check_size(width, end_row - first_row, image);
  return resize_rows(resize_columns(image, horizontal, first_row, end_row - first_row), vertical, first_row);
}

Image pad_to_square(const Image& image, const std::array<uint8_t, 3>& color) {
  check_pixels(image);
  if (image.width == image.height) return image;
  const int64_t side = std::max(image.width, image.height);
  check_size(side, side, image);
  Image out{side, side, {}};
  out.rgb.resize(size_t(side) * size_t(side) * 3);
  for (size_t i = 0; i < out.rgb.size(); ++i) out.rgb[i] = color[i % 3];
  const int64_t left = (side - image.width) / 2, top = (side - image.height) / 2;
  for (int64_t y = 0; y < image.height; ++y)
    std::copy_n(image.rgb.begin() + y * image.width * 3, image.width * 3,
                out.rgb.begin() + ((top + y) * side + left) * 3);
  return out;
}

Image center_crop(const Image& image, int64_t height, int64_t width, ImageBackend backend) {
  check_pixels(image);
  check_size(width, height, image);
  // Where the image is smaller, Pillow's reference pads first, the odd row and column in front, and crops the padded
  // image: both steps together move the image by ceil((crop - size) / 2), which is -floor((size - crop) / 2).
  // Torchvision's pads floor((crop - size) / 2) in front.
  const auto start = [&](int64_t room) { return backend == ImageBackend::Pil ? floor_half(room) : room / 2; };
  const int64_t top = start(image.height - height), left = start(image.width - width);
  Image out{width, height, {}};
  out.rgb.resize(size_t(width) * size_t(height) * 3, 0);
  const int64_t first = std::max<int64_t>(left, 0), last = std::min(left + width, image.width);
  for (int64_t y = std::max<int64_t>(top, 0); y < std::min(top + height, image.height); ++y)
    std::copy_n(image.rgb.begin() + (y * image.width + first) * 3, (last - first) * 3,
                out.rgb.begin() + ((y - top) * width + first - left) * 3);
  return out;
}

}  // namespace yopo
