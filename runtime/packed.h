// Weights in the form that a device's matrix products read fastest ("packed"), cut where a plan tells visual rows from
// text rows: a product takes whole tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace yopo::runtime {

/// Rows that a packed form holds together: tiles of a multiple of it that lie one behind the other are one product.
constexpr int64_t packed_rows = 64;

/// Rows [row, row + rows) and columns [column, column + columns) of a matrix, as Ops::pack made them.
struct PackedTile {
  int64_t row = 0, rows = 0, column = 0, columns = 0;
  const void* data = nullptr;
  size_t bytes = 0;
};

/// A weight on the device.
struct Matrix {
  const void* data = nullptr;  // [rows, columns] of Weights::type, row-major and contiguous; null where it is packed
  int64_t rows = 0, columns = 0;
  std::vector<PackedTile> tiles = {};  // by column, then by row; they cover the matrix
};

/// One product's part of a weight.
struct Piece {
  int64_t row = 0, n = 0, column = 0, k = 0;  // of the matrix
  const void* data = nullptr;
  int64_t ld = 0;  // of a piece that is not packed
  bool packed = false;
};
/// The products that rows [row, row + n) and columns [column, column + k) take. InternalError for a range of a packed
/// matrix that does not end where tiles do.
std::vector<Piece> pieces_of(const Matrix& w, DType type, int64_t row, int64_t n, int64_t column, int64_t k);

}  // namespace yopo::runtime
