#include "runtime/packed.h"

#include <algorithm>

#include "core/error.h"
#include "runtime/ops.h"

namespace yopo::runtime {
std::vector<Piece> pieces_of(const Matrix& w, DType type, int64_t row, int64_t n, int64_t column, int64_t k) {
  if (w.tiles.empty()) return {{row, n, column, k, offset(w.data, type, row * w.columns + column), w.columns, false}};
  std::vector<Piece> pieces;
  int64_t covered = 0;
  const PackedTile* last = nullptr;
  for (const PackedTile& tile : w.tiles) {
    if (tile.row < row || tile.row + tile.rows > row + n || tile.column < column ||
        tile.column + tile.columns > column + k)
      continue;
    covered += tile.rows * tile.columns;
    const bool joins = last && last->column == tile.column && last->row + last->rows == tile.row &&
                       last->rows % packed_rows == 0 &&
                       static_cast<const std::byte*>(last->data) + last->bytes == tile.data;
    if (joins)
      pieces.back().n += tile.rows;
    else
      pieces.push_back({tile.row, tile.rows, tile.column, tile.columns, tile.data, 0, true});
    last = &tile;
  }
  ensure(covered == n * k, "a product of packed weights takes whole tiles");
  return pieces;
}

}  // namespace yopo::runtime
