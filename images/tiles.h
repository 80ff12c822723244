// How InternVL2 cuts an image into tiles.
#pragma once

#include "images/spec.h"

namespace yopo {

struct TileLayout {
  int64_t columns = 0, rows = 0;
  bool operator==(const TileLayout&) const = default;
};

/// find_closest_aspect_ratio of InternVL2's dynamic_preprocess: among all layouts of min_tiles to max_tiles tiles the
/// one whose columns / rows is nearest to width / height (both in double). Of layouts equally near, a larger one is
/// taken if the image has more than half its pixels. The reference visits layouts of one size in the order of a Python
/// set, here fewer columns come first; with min_tiles 1 no two of one size are ever equally near (exact, up to 40
/// tiles).
TileLayout tile_layout(const ImageSpec& spec, int64_t width, int64_t height);

}  // namespace yopo
