#include "models/patches.h"

#include <algorithm>
#include <numeric>
#include <utility>

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

std::vector<int64_t> token_order(const VisionSpec& vision, const PatchGrid& grid) {
  std::vector<int64_t> order;
  if (vision.window == 0) return order;
  const int64_t rows = grid[0] / vision.merge_size, columns = grid[1] / vision.merge_size, side = vision.window;
  for (int64_t top = 0; top < rows; top += side)
    for (int64_t left = 0; left < columns; left += side)
      for (int64_t row = top; row < std::min(top + side, rows); ++row)
        for (int64_t column = left; column < std::min(left + side, columns); ++column)
          order.push_back(row * columns + column);
  return order;
}

std::vector<WindowRun> window_runs(const VisionSpec& vision, const PatchGrid& grid) {
  const int64_t rows = grid[0] / vision.merge_size, columns = grid[1] / vision.merge_size, side = vision.window;
  std::vector<WindowRun> runs;
  for (int64_t top = 0; top < rows; top += side)
    for (int64_t left = 0; left < columns; left += side) {
      const int64_t tokens = std::min(side, rows - top) * std::min(side, columns - left);
      const int64_t own = tokens * vision.merge_size * vision.merge_size;
      if (runs.empty() || runs.back().rows != own) runs.push_back({0, own});
      ++runs.back().windows;
    }
  return runs;
}

std::vector<int32_t> tower_places(const VisionSpec& vision, const PatchGrid& grid) {
  const std::vector<int32_t> plain = patch_places(grid, vision.merge_size);
  const std::vector<int64_t> order = token_order(vision, grid);
  if (order.empty()) return plain;
  const int64_t own = 2 * vision.merge_size * vision.merge_size;
  std::vector<int32_t> places;
  places.reserve(plain.size());
  for (const int64_t token : order)
    places.insert(places.end(), plain.begin() + token * own, plain.begin() + (token + 1) * own);
  return places;
}

TablePlaces table_places(const VisionSpec& vision, const PatchGrid& grid) {
  const int64_t side = vision.table_side;
  struct Between {
    int64_t first = 0, second = 0;
    float part = 0;  // of the second
  };
  const auto between = [&](int64_t place, int64_t places) {
    const double at = places > 1 ? double(place) * double(side - 1) / double(places - 1) : 0.0;
    const auto first = int64_t(at);
    return Between{first, std::min(first + 1, side - 1), float(at - double(first))};
  };
  TablePlaces all;
  const std::vector<int32_t> places = tower_places(vision, grid);
  for (size_t i = 0; i < places.size(); i += 2) {
    const Between row = between(places[i], grid[0]), column = between(places[i + 1], grid[1]);
    for (const auto& [from_row, row_weight] : {std::pair{row.first, 1 - row.part}, {row.second, row.part}})
      for (const auto& [from_column, weight] :
           {std::pair{column.first, 1 - column.part}, {column.second, column.part}}) {
        all.index.push_back(int32_t(from_row * side + from_column));
        all.weight.push_back(row_weight * weight);
      }
  }
  return all;
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
  if (side == 0 && vision.window == 0)
    return std::vector<float>(pixels, pixels + patches * row_size);  // the processor did it
  if (side == 0) {
    std::vector<float> rows;
    rows.reserve(size_t(patches * row_size));
    for (int64_t picture = first; picture < first + count; ++picture) {
      const PatchGrid& grid = grids[size_t(picture)];
      const int64_t own = vision.merge_size * vision.merge_size * row_size;
      for (const int64_t token : token_order(vision, grid))
        rows.insert(rows.end(), pixels + token * own, pixels + (token + 1) * own);
      pixels += grid[0] * grid[1] * row_size;
    }
    return rows;
  }
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
  if (vision.table_side > 0) {  // every picture finds its own places in it
    std::vector<int64_t> order(size_t(vision.table_side * vision.table_side));
    std::iota(order.begin(), order.end(), int64_t(0));
    return order;
  }
  const PatchGrid grid{vision.grid(), vision.grid()};
  const std::vector<int32_t> places = patch_places(grid, vision.merge_size);
  const int64_t first = vision.class_token ? 1 : 0;
  std::vector<int64_t> order(size_t(first), 0);
  for (size_t i = 0; i < places.size(); i += 2) order.push_back(first + places[i] * grid[1] + places[i + 1]);
  return order;
}

}  // namespace yopo
