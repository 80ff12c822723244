// How images become pixels, as data. The readers of models/families fill it from a checkpoint's files.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace yopo {

/// Whose arithmetic resizes and normalises: Pillow's and NumPy's, or torchvision's, which differ by a level at most.
enum class ImageBackend { Pil, Torchvision };

/// How an image becomes pixel_values. See images/processor.h.
struct ImageSpec {
  enum class Fit { ShortestEdgeCrop, PadToSquare, SmartResize, Tiles, AnyRes } fit = Fit::ShortestEdgeCrop;
  int64_t patch_size = 0;                   // pixels a side of the vision tower's patches
  int64_t resize = 0;                       // ShortestEdgeCrop: the shortest edge in pixels; PadToSquare: the side
  int64_t crop_height = 0, crop_width = 0;  // pixels
  int64_t merge_size = 1;                   // SmartResize: patches a side that become one visual token
  int64_t temporal_patch_size = 1;          // SmartResize: frames of a patch; an image's one frame is repeated
  int64_t min_pixels = 0, max_pixels = 0;   // SmartResize: of the resized image
  int64_t tile_size = 0;                    // Tiles, AnyRes: pixels a side
  int64_t min_tiles = 1, max_tiles = 1;     // Tiles: without the thumbnail
  bool thumbnail = false;                   // Tiles: the whole image as one more tile, where there are several
  bool pad_first = false;                   // Tiles: pad to a square of pad_color first
  /// AnyRes: height and width of the canvases that an image may fill with its tiles.
  std::vector<std::array<int64_t, 2>> resolutions;
  int64_t max_grids = 0;  // AnyRes: features of at most so many tiles, or little more, stay of a canvas; 0: all of them
  bool single_tile = false;  // AnyRes: several images of one prompt are a tile each
  bool do_resize = true, do_center_crop = true, do_rescale = true, do_normalize = true;
  bool exif_transpose = false;  // turn an image as its Exif block says; no family's processor does
  int resample = 3;             // PIL: 2 bilinear, 3 bicubic
  double rescale_factor = 1.0 / 255.0;
  std::array<float, 3> mean{}, std{};
  std::array<uint8_t, 3> pad_color{};  // int(mean * 255): around an image that is made square
  ImageBackend backend = ImageBackend::Pil;
};

}  // namespace yopo
