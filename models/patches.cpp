#include "models/patches.h"

#include <algorithm>

#include "core/error.h"

namespace yopo {

std::vector<int32_t> patch_places(const PatchGrid& grid, int64_t merge_size) {
  std::vector<int32_t> places;
  places.reserve(size_t(2 * grid[0] * grid[1]));
  for (int64_t top = 0; top < grid[0]; top += merge_size)
    for (int64_t left = 0; left < grid[1]; left += merge_size)
      for (int64_t row = top; row < top + merge_size; ++row)
        for (int64_t column = left; column < left + merge_size; ++column) {
          places.push_back(int32_t(row));
          places.push_back(int32_t(column));
        }
  return places;
}

std::vector<PatchGrid> patch_grids(const VisionSpec& vision, const ModelInput& input) {
  if (!input.image_sizes.empty()) return std::vector<PatchGrid>(size_t(input.images), {vision.grid(), vision.grid()});
  std::vector<PatchGrid> grids;
  for (const Span& span : input.spans)
    grids.push_back({span.rows * vision.merge_size, span.columns * vision.merge_size});
  return grids;
}

std::vector<float> patch_rows(const VisionSpec& vision, const ModelInput& input, int64_t first, int64_t count) {
  const std::vector<PatchGrid> grids = patch_grids(vision, input);
  ensure(first >= 0 && first + count <= int64_t(grids.size()), "pictures of the input");
  const auto patches_of = [&](int64_t from, int64_t to) {
    int64_t patches = 0;
    for (int64_t i = from; i < to; ++i) patches += grids[size_t(i)][0] * grids[size_t(i)][1];
    return patches;
  };
  const int64_t before = patches_of(0, first), patches = patches_of(first, first + count);
  const int64_t row_size = vision.patch_values(), patch = vision.patch_size, side = vision.image_size;
  const float* pixels = input.pixel_values.data() + (side > 0 ? first * vision.picture_values() : before * row_size);
  if (side == 0) return std::vector<float>(pixels, pixels + patches * row_size);  // the processor did it
  std::vector<float> rows(size_t(patches * row_size));
  float* row = rows.data();
  for (int64_t picture = 0; picture < count; ++picture, pixels += vision.picture_values()) {
    const std::vector<int32_t> places = patch_places(grids[size_t(first + picture)], vision.merge_size);
    for (size_t i = 0; i < places.size(); i += 2)
      for (int64_t channel = 0; channel < 3; ++channel)
        for (int64_t y = 0; y < patch; ++y, row += patch)
          std::copy_n(pixels + (channel * side + places[i] * patch + y) * side + places[i + 1] * patch, patch, row);
  }
  return rows;
}

std::vector<int64_t> row_major_order(const PatchGrid& grid, int64_t merge_size) {
  const std::vector<int32_t> places = patch_places(grid, merge_size);
  std::vector<int64_t> order(places.size() / 2);
  for (size_t i = 0; i < order.size(); ++i) order[size_t(places[2 * i] * grid[1] + places[2 * i + 1])] = int64_t(i);
  return order;
}

std::vector<int64_t> position_order(const VisionSpec& vision) {
  const PatchGrid grid{vision.grid(), vision.grid()};
  const std::vector<int32_t> places = patch_places(grid, vision.merge_size);
  const int64_t first = vision.class_token ? 1 : 0;
  std::vector<int64_t> order(size_t(first), 0);
  for (size_t i = 0; i < places.size(); i += 2) order.push_back(first + places[i] * grid[1] + places[i + 1]);
  return order;
}

}  // namespace yopo
