#include "images/tiles.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"

namespace yopo {

TileLayout tile_layout(const ImageSpec& spec, int64_t width, int64_t height) {
  ensure(width > 0 && height > 0, "tiles of an image without pixels");
  ensure(spec.min_tiles > 0 && spec.min_tiles <= spec.max_tiles, "tiles without bounds");
  std::vector<TileLayout> layouts;
  for (int64_t columns = 1; columns <= spec.max_tiles; ++columns)
    for (int64_t rows = 1; columns * rows <= spec.max_tiles; ++rows)
      if (columns * rows >= spec.min_tiles) layouts.push_back({columns, rows});
  std::stable_sort(layouts.begin(), layouts.end(),
                   [](const TileLayout& a, const TileLayout& b) { return a.columns * a.rows < b.columns * b.rows; });

  const double ratio = double(width) / double(height), area = double(width) * double(height);
  const double half_tile = 0.5 * double(spec.tile_size) * double(spec.tile_size);
  double best_difference = std::numeric_limits<double>::infinity();
  TileLayout best{1, 1};
  for (const TileLayout& layout : layouts) {
    const double difference = std::abs(ratio - double(layout.columns) / double(layout.rows));
    if (difference < best_difference ||
        (difference == best_difference && area > half_tile * double(layout.columns) * double(layout.rows)))
      best = layout;
    best_difference = std::min(best_difference, difference);
  }
  return best;
}

}  // namespace yopo
