// How images become pixels: the rules, and how each family's files say them.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/json.h"

namespace yopo {

/// How an image becomes pixel_values. See images/processor.h.
struct ImageSpec {
  /// CLIP and LLaVA; LLaVA's image_aspect_ratio pad; Qwen2-VL; InternVL2.
  enum class Fit { ShortestEdgeCrop, PadToSquare, SmartResize, Tiles } fit = Fit::ShortestEdgeCrop;
  int64_t patch_size = 0;                   // pixels a side of the vision tower's patches
  int64_t resize = 0;                       // shortest edge in pixels (llava-hf) or side (pad)
  int64_t crop_height = 0, crop_width = 0;  // pixels
  int64_t merge_size = 1;                   // SmartResize: patches a side that become one visual token
  int64_t temporal_patch_size = 1;          // SmartResize: frames of a patch; an image's one frame is repeated
  int64_t min_pixels = 0, max_pixels = 0;   // SmartResize: of the resized image
  int64_t tile_size = 0;                    // Tiles: pixels a side
  int64_t min_tiles = 1, max_tiles = 1;     // Tiles: without the thumbnail
  bool thumbnail = false;                   // Tiles: the whole image as one more tile, where there are several
  bool pad_first = false;                   // Tiles: pad to a square of the mean first
  bool do_resize = true, do_center_crop = true, do_rescale = true, do_normalize = true;
  int resample = 3;  // PIL: 2 bilinear, 3 bicubic
  double rescale_factor = 1.0 / 255.0;
  std::array<float, 3> mean{}, std{};
};

/// LLaVA's rules from preprocessor_config.json; transformers' CLIPImageProcessor defaults where a key or the file is
/// absent. `side`: the vision tower's image_size, which the crop must have. patch_size is the caller's to fill in.
ImageSpec clip_image_spec(const fs::path& file, int64_t side);

/// Qwen2-VL's rules from preprocessor_config.json; transformers' Qwen2VLImageProcessor defaults (56 * 56 to 28 * 28 *
/// 1280 pixels) where a key is absent, and the values published with the models (up to 12845056) where the file is. The
/// bounds are min_pixels and max_pixels, else those of `size` (which the slow reference, unlike the fast one,
/// overlooks).
ImageSpec qwen2_vl_image_spec(const fs::path& file);

/// InternVL2's rules from config.json (`where` in messages); those published with the models (1 to 12 tiles and a
/// thumbnail) where a key is absent. pad2square changes something only without dynamic_image_size: tiles are square.
ImageSpec internvl_image_spec(const Json& config, const std::string& where);

}  // namespace yopo
