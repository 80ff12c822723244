#include "images/processor.h"

#include <algorithm>

#include "core/error.h"
#include "images/anyres.h"
#include "images/exif.h"
#include "images/smart_resize.h"
#include "images/tiles.h"

namespace yopo {

namespace {

constexpr int64_t kLargestValues = 6 * kLargestImage;  // colours of two frames

using ValueTable = std::array<std::array<float, 256>, 3>;  // [channel][value]

/// Pillow's processors: rescaled in double and rounded to float once; then mean and deviation in float, as the
/// reference's arrays are. (With 1 / 255 the first step gives the floats of torchvision's division by 255, for every
/// value.)
float pillow_value(const ImageSpec& spec, size_t channel, size_t value) {
  const float x = spec.do_rescale ? float(double(value) * spec.rescale_factor) : float(value);
  return spec.do_normalize ? (x - spec.mean[channel]) / spec.std[channel] : x;
}

/// torchvision's processors: in float throughout, and mean and deviation are rescaled instead of the value.
float torchvision_value(const ImageSpec& spec, size_t channel, size_t value) {
  const float x = float(value);
  if (!spec.do_normalize) return spec.do_rescale ? x * float(spec.rescale_factor) : x;
  const float scale = spec.do_rescale ? float(1.0 / spec.rescale_factor) : 1.0f;
  return (x - spec.mean[channel] * scale) / (spec.std[channel] * scale);
}

ValueTable value_table(const ImageSpec& spec) {
  ValueTable table;
  const auto value_of = spec.backend == ImageBackend::Pil ? pillow_value : torchvision_value;
  for (size_t c = 0; c < 3; ++c)
    for (size_t value = 0; value < 256; ++value) table[c][value] = value_of(spec, c, value);
  return table;
}

void check_values(const Image& image, int64_t pixels, int64_t per_pixel) {
  require(pixels <= kLargestValues / per_pixel,
          "an image of {} x {} pixels would become {} x {} values; expected at most {}", image.width, image.height,
          pixels, per_pixel, kLargestValues);
}

/// Appends the part [top, top + height) x [left, left + width) of the image as [3, height, width].
void append_picture(const ValueTable& table, const Image& image, int64_t top, int64_t left, int64_t height,
                    int64_t width, std::vector<float>& out) {
  for (size_t c = 0; c < 3; ++c)
    for (int64_t y = top; y < top + height; ++y) {
      const uint8_t* row = image.rgb.data() + (y * image.width + left) * 3;
      for (int64_t x = 0; x < width; ++x) out.push_back(table[c][row[3 * x + int64_t(c)]]);
    }
}

Image fit_clip(const ImageSpec& spec, const Image& given) {
  check_pixels(given);
  Image image = spec.fit == ImageSpec::Fit::PadToSquare ? pad_to_square(given, spec.pad_color) : given;
  if (spec.do_resize) {
    // int(size * long / short): a division in double, cut off.
    const int64_t shorter = std::min(image.width, image.height), longer = std::max(image.width, image.height);
    const int64_t scaled = int64_t(double(spec.resize * longer) / double(shorter));
    image = image.width <= image.height ? resize(image, spec.resize, scaled, spec.resample, spec.backend)
                                        : resize(image, scaled, spec.resize, spec.resample, spec.backend);
  }
  if (spec.do_center_crop) image = center_crop(image, spec.crop_height, spec.crop_width, spec.backend);
  return image;
}

Pixels clip_pixels(const ImageSpec& spec, const Image& given) {
  const Image image = fit_clip(spec, given);
  ensure(spec.patch_size > 0, "an image spec without a patch size");
  Pixels out;
  out.values.reserve(image.rgb.size());
  append_picture(value_table(spec), image, 0, 0, image.height, image.width, out.values);
  out.grids = {{image.height / spec.patch_size, image.width / spec.patch_size}};
  out.size = {given.height, given.width};
  return out;
}

Pixels smart_resize_pixels(const ImageSpec& spec, const Image& given) {
  check_pixels(given);
  ensure(spec.patch_size > 0 && spec.merge_size > 0 && spec.temporal_patch_size > 0, "an image spec without patches");
  const int64_t patch = spec.patch_size, merge = spec.merge_size, factor = patch * merge;
  ImageSize size{given.height, given.width};
  if (spec.do_resize) size = smart_resize(spec, size);
  require(size.height % factor == 0 && size.width % factor == 0,
          "an image of {} x {} pixels is not resized (do_resize false); expected multiples of {}", given.width,
          given.height, factor);
  check_values(given, size.height * size.width, 3 * spec.temporal_patch_size);
  const Image image = spec.do_resize ? resize(given, size.width, size.height, spec.resample, spec.backend) : given;

  const ValueTable table = value_table(spec);
  const int64_t rows = image.height / patch, columns = image.width / patch;
  Pixels out;
  out.grids = {{rows, columns}};
  out.values.reserve(image.rgb.size() * size_t(spec.temporal_patch_size));
  std::vector<float> frame;  // [patch, patch] of one channel
  const auto append_patch = [&](int64_t row, int64_t column) {
    for (size_t c = 0; c < 3; ++c) {
      frame.clear();
      for (int64_t y = row * patch; y < (row + 1) * patch; ++y)
        for (int64_t x = column * patch; x < (column + 1) * patch; ++x)
          frame.push_back(table[c][image.rgb[size_t(y * image.width + x) * 3 + c]]);
      for (int64_t t = 0; t < spec.temporal_patch_size; ++t)
        out.values.insert(out.values.end(), frame.begin(), frame.end());
    }
  };
  // Patches that the tower merges stand together.
  for (int64_t block_row = 0; block_row < rows; block_row += merge)
    for (int64_t block_column = 0; block_column < columns; block_column += merge)
      for (int64_t row = block_row; row < block_row + merge; ++row)
        for (int64_t column = block_column; column < block_column + merge; ++column) append_patch(row, column);
  return out;
}

Pixels tile_pixels(const ImageSpec& spec, const Image& given) {
  check_pixels(given);
  ensure(spec.patch_size > 0 && spec.tile_size > 0, "an image spec without tiles");
  const int64_t side = spec.tile_size;
  const Image padded = spec.pad_first ? pad_to_square(given, spec.pad_color) : Image{};
  const Image& image = spec.pad_first ? padded : given;
  const TileLayout layout = tile_layout(spec, image.width, image.height);
  const int64_t tiles = layout.columns * layout.rows;
  const bool thumbnail = spec.thumbnail && tiles > 1;
  check_values(given, (tiles + thumbnail) * side * side, 3);

  const ValueTable table = value_table(spec);
  Pixels out;
  out.grids.assign(size_t(tiles + thumbnail), {side / spec.patch_size, side / spec.patch_size});
  out.values.reserve(size_t(tiles + thumbnail) * 3 * size_t(side) * size_t(side));
  const Image whole = resize(image, layout.columns * side, layout.rows * side, spec.resample, spec.backend);
  for (int64_t row = 0; row < layout.rows; ++row)
    for (int64_t column = 0; column < layout.columns; ++column)
      append_picture(table, whole, row * side, column * side, side, side, out.values);
  if (thumbnail)
    append_picture(table, resize(image, side, side, spec.resample, spec.backend), 0, 0, side, side, out.values);
  return out;
}

Pixels anyres_pixels(const ImageSpec& spec, const Image& image) {
  check_pixels(image);
  ensure(spec.patch_size > 0 && spec.tile_size > 0, "an image spec without tiles");
  const int64_t side = spec.tile_size;
  const std::array<int64_t, 2> canvas = best_resolution(spec, image.height, image.width);
  const int64_t rows = canvas[0] / side, columns = canvas[1] / side, tiles = 1 + rows * columns;
  check_values(image, tiles * side * side, 3);
  const ValueTable table = value_table(spec);
  Pixels out;
  out.size = {image.height, image.width};
  out.grids.assign(size_t(tiles), {side / spec.patch_size, side / spec.patch_size});
  out.values.reserve(size_t(tiles * 3 * side * side));
  append_picture(table, resize(image, side, side, spec.resample, spec.backend), 0, 0, side, side, out.values);
  const Image whole = on_canvas(spec, image, canvas);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      append_picture(table, whole, row * side, column * side, side, side, out.values);
  return out;
}

}  // namespace

Pixels process_pixels(const ImageSpec& spec, const Image& given) {
  const bool turn = spec.exif_transpose && given.orientation != 1;
  const Image turned = turn ? upright(given) : Image{};
  const Image& image = turn ? turned : given;
  switch (spec.fit) {
    case ImageSpec::Fit::ShortestEdgeCrop:
    case ImageSpec::Fit::PadToSquare:
      return clip_pixels(spec, image);
    case ImageSpec::Fit::SmartResize:
      return smart_resize_pixels(spec, image);
    case ImageSpec::Fit::Tiles:
      return tile_pixels(spec, image);
    case ImageSpec::Fit::AnyRes:
      return anyres_pixels(spec, image);
  }
  throw InternalError("an image spec of an unknown kind");
}

std::vector<float> process_image(const ImageSpec& spec, const Image& given) {
  ensure(spec.fit == ImageSpec::Fit::ShortestEdgeCrop || spec.fit == ImageSpec::Fit::PadToSquare,
         "process_image knows CLIP's rules only");
  const Image image = fit_clip(spec, given);
  std::vector<float> out;  // [3, height, width]
  out.reserve(image.rgb.size());
  append_picture(value_table(spec), image, 0, 0, image.height, image.width, out);
  return out;
}

}  // namespace yopo
