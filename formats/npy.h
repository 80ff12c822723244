// NumPy .npy files, version 1.0 to 3.0: what published head masks come in.
#pragma once

#include <cstdint>
#include <vector>

#include "core/file.h"

namespace yopo {

/// A bool or integer array; fortran_order is turned into row-major.
struct NpyArray {
  std::vector<int64_t> shape;
  std::vector<int64_t> values;
};
/// Reads bool ("|b1"), signed and unsigned integer, and float arrays whose values are all 0 or 1 (a mask saved as
/// float). UserError for objects (pickles are never read), other dtypes, and sizes that do not fit the file.
NpyArray read_npy(const fs::path& path);
/// Writes a bool array [rows, columns], version 1.0, atomically.
void write_npy_bool(const fs::path& path, const std::vector<std::vector<uint8_t>>& rows);

}  // namespace yopo
