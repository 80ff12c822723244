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
  std::map<std::string, Hdf5Array> datasets;      // "/attention/ratio" -> array
  std::map<std::string, std::string> attributes;  // on the root, up to 64000 bytes each
};
/// Writes float64, int64 and UTF-8 string arrays and string attributes; groups are made as needed; the same content
/// gives the same bytes. Text has a fixed length (h5py gives attributes as bytes). The file is made in memory first.
/// After the HDF5 content, where every HDF5 reader ignores it, follows one line with its fingerprint.
void write_hdf5(const fs::path& path, const Hdf5File& file);
/// Reads what write_hdf5 writes, without the HDF5 library, which does not survive damaged metadata: hard links,
/// contiguous datasets of floats, integers or fixed-length text, in the form of file that h5py writes by default.
/// UserError for a file that is no HDF5, for anything else in it, for a dataset of more than `limit` elements, and for
/// content that does not have the fingerprint its last line names. A file without that line (changed by another
/// program) is read as it is.
Hdf5File read_hdf5(const fs::path& path, int64_t limit = int64_t(1) << 31);

}  // namespace yopo
