// stats.h5: raw, mergeable sums of what visual tokens do in a dense model. See docs/formats.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/recipe.h"

namespace yopo {

struct Statistics {
  int64_t layers = 0, heads = 0, intermediate_size = 0;
  Queries queries = Queries::Prefill;
  std::string fingerprint;            // of checkpoint, dataset and calibration options; equal for files that may merge
  std::vector<std::string> ids;       // [S] sample ids, ascending
  std::vector<double> ratio;          // [S, L, H]
  std::vector<double> abs_sum;        // [L, F] over visual rows; activation = act(gate) * up
  std::vector<double> square_sum;     // [L, F]
  std::vector<double> active;         // [L, F] rows with activation > 0 in magnitude above 0 (see docs/formats.md)
  std::vector<int64_t> rows;          // [L] visual rows
  std::vector<double> column_norm;    // [L, F] norm of the down-projection's columns: makes plans need no model
  int64_t samples() const { return int64_t(ids.size()); }
};

/// Sums are kept on a fixed grid (multiples of 2^-24) so that float64 adds them exactly, in any order and any grouping.
double on_grid(double value);

void write_statistics(const fs::path& path, const Statistics& statistics);
/// UserError for a file that is none, of another version, or whose arrays do not fit each other.
Statistics read_statistics(const fs::path& path);
/// UserError for other fingerprints, other sizes, or a sample in two files.
Statistics merge_statistics(const std::vector<Statistics>& parts);

}  // namespace yopo
