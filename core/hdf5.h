// HDF5 files of plain arrays, deterministic (no timestamps) and atomic.
#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "core/file.h"

namespace yopo {

struct Hdf5Array {
  std::vector<int64_t> shape;
  std::variant<std::vector<double>, std::vector<int64_t>, std::vector<std::string>> values;
};
struct Hdf5File {
  std::map<std::string, Hdf5Array> datasets;         // "/attention/ratio" -> array
  std::map<std::string, std::string> attributes;     // on the root
};
/// Writes float64, int64 and UTF-8 string arrays and string attributes; groups are made as needed; the same content gives
/// the same bytes.
void write_hdf5(const fs::path& path, const Hdf5File& file);
/// UserError for a file that is no HDF5, a dataset of another kind, or one larger than `limit` elements.
Hdf5File read_hdf5(const fs::path& path, int64_t limit = int64_t(1) << 31);

}  // namespace yopo
