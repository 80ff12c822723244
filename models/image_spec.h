// The image rules of each family, read from its checkpoint's files.
#pragma once

#include "core/json.h"
#include "models/spec.h"

namespace yopo {

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
