// stats.h5: raw, mergeable sums of what visual tokens do in a dense model. See docs/formats.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "calibration/queries.h"
#include "core/file.h"
#include "models/spec.h"

namespace yopo {

/// An activation is act(gate) * up of one neuron for one visual row, as the down-projection gets it.
struct Statistics {
  int64_t layers = 0, heads = 0, intermediate_size = 0;
  Queries queries = Queries::Prefill;
  std::string fingerprint;         // of checkpoint, dataset and calibration options; equal for files that may merge
  std::vector<std::string> ids;    // [S] sample ids, ascending by id_less
  std::vector<int64_t> repeats;    // [S] which of the samples of its id, ascending; empty: each id is there once
  std::vector<double> ratio;       // [S, L, H] mass on visual keys / mass on all other keys, over the chosen query rows
  std::vector<double> abs_sum;     // [L, F] sum of |activation| over visual rows
  std::vector<double> square_sum;  // [L, F] sum of activation^2 over visual rows
  std::vector<double> active;      // [L, F] visual rows in which |activation| exceeds that row's mean over all neurons
  std::vector<int64_t> rows;       // [L] visual rows
  std::vector<double> column_norm;  // [L, F] norm of the down-projection's columns: makes plans need no model
  int64_t parts = 1;                // how many processes share the calibration
  std::vector<int64_t> held;        // which parts these are, from 1 and ascending; empty: the whole, or an older file
  int64_t samples() const { return int64_t(ids.size()); }
  int64_t repeat(size_t sample) const { return repeats.empty() ? 1 : repeats[sample]; }
  void add_sample(const std::string& id, int64_t repeat);
};

/// The order of sample ids: integers first, by value; then text, bytewise.
bool id_less(std::string_view a, std::string_view b);

/// A sample's sums are rounded to multiples of 2^-24 (an absolute error of at most 2^-25 a sample), so that float64
/// adds them exactly, in any order and any grouping, as long as no sum passes 2^29 (5.4e8). Beyond that only the last
/// bit may depend on the order.
double on_grid(double value);

/// Whether they have the model's layers, heads and neurons.
bool fits(const Statistics& statistics, const DecoderSpec& spec);

/// Writes stats.h5 atomically; the same statistics give the same bytes. `journal`: marks it as an unfinished run's.
void write_statistics(const fs::path& path, const Statistics& statistics, bool journal = false);
/// UserError for a file that is none, of another version, whose arrays do not fit each other, hold NaN, Inf or negative
/// numbers, or whose samples are not ascending; and for an unfinished run's journal, unless that is what is asked for.
Statistics read_statistics(const fs::path& path, bool journal = false);
/// UserError for other fingerprints, other sizes, parts of other divisions, or a sample in two files. The result does
/// not depend on the order; of all parts it is the whole.
Statistics merge_statistics(const std::vector<Statistics>& parts);

/// "2/3, 3/3" of 3: the parts that are not held; "" of a whole.
std::string missing_parts(const Statistics& statistics);

}  // namespace yopo
