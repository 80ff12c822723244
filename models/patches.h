// Pictures cut into the rows that a vision tower's first product takes.
#pragma once

#include <vector>

#include "models/input.h"

namespace yopo {

/// Where a tower's patches lie: row and column of each, in the order of its rows. Blocks of merge_size x merge_size
/// follow one another, row-major outside and inside, so that the patches of one visual token are neighbours; merge_size
/// 1: plain order.
std::vector<int32_t> patch_places(const PatchGrid& grid, int64_t merge_size);  // [patches, 2]

/// The order in which a tower with windows takes a picture's visual tokens: window by window, row-major inside and
/// across; a picture's last windows may be smaller. Places in plain order, [tokens]; empty: plain order, there are
/// none.
std::vector<int64_t> token_order(const VisionSpec& vision, const PatchGrid& grid);

/// The same windows as runs of neighbours with equally many rows of the tower.
struct WindowRun {
  int64_t windows = 0, rows = 0;
};
std::vector<WindowRun> window_runs(const VisionSpec& vision, const PatchGrid& grid);

/// Where the patches lie that a tower's rows are, in their order: patch_places by token_order.
std::vector<int32_t> tower_places(const VisionSpec& vision, const PatchGrid& grid);

/// For each row of a tower, the places in its table (table_side) that the row's position lies between, four a row, and
/// their weights: the corners of table and picture lie on one another, and between places it is bilinear.
struct TablePlaces {
  std::vector<int32_t> index;  // [patches, 4]
  std::vector<float> weight;   // [patches, 4]
};
TablePlaces table_places(const VisionSpec& vision, const PatchGrid& grid);

/// The patch grid of each picture of an input: its spans times merge_size.
std::vector<PatchGrid> patch_grids(const VisionSpec& vision, const ModelInput& input);

/// The patches of pictures [first, first + count) of an input, [patches, patch_values], each channel-major as a
/// convolution's weights are, in the order of tower_places.
std::vector<float> patch_rows(const VisionSpec& vision, const ModelInput& input, int64_t first, int64_t count);

/// For rows in the order of patch_places: which of them comes at each place in row-major order. [patches]
std::vector<int64_t> row_major_order(const PatchGrid& grid, int64_t merge_size);

/// The order that brings the rows of a learned table of positions ([patches], the class token's before them where there
/// is one) into the order of patch_places.
std::vector<int64_t> position_order(const VisionSpec& vision);

}  // namespace yopo
