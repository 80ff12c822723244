// One product instead of several: the order in which a layer's merged weights stand, so that what visual rows need is a
// prefix of each. Rows of one matrix: q, k and v; rows of another: gate and up; heads are columns of o.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/tensors.h"
#include "runtime/layer_slices.h"

namespace yopo::runtime {

/// What of a layer visual rows have. Heads and neurons as the weights' order numbers them.
struct LayerSplit {
  std::vector<int64_t> updated;  // heads that visual rows compute, ascending
  int64_t kv_heads = 0;          // visual rows have keys and values in the first of them
  int64_t neurons = 0;           // and these neurons
  bool operator==(const LayerSplit&) const = default;
  bool no_heads() const { return updated.empty() && kv_heads == 0; }
};
LayerSplit whole_split(const DecoderSpec& spec);
std::vector<LayerSplit> splits_of(const std::vector<LayerSlices>& layers, const DecoderSpec& spec);

/// How far into merged weights visual rows go: nowhere, as far as they are split, or through all of them.
enum class Reach { None, Split, All };
struct Reaches {
  Reach heads = Reach::None, neurons = Reach::None;
};
/// Nothing where weights so split cannot tell apart what is wanted.
std::optional<Reaches> reaches_of(const LayerSplit& made, const LayerSplit& wanted, const DecoderSpec& spec);
/// Whether all layers of merged weights serve layers that are split otherwise.
bool serves(const std::vector<LayerSplit>& made, const std::vector<LayerSplit>& wanted, const DecoderSpec& spec);

/// Where heads stand in a row of q, k and v, `stride` elements long, and in one of attention's output, in elements:
/// [updated q | v | k] of visual rows, then [k | v | other q] of what only text rows have. Keys of all heads lie one
/// behind the other.
struct LayerColumns {
  int64_t others = 0;         // q of heads that are not updated, one behind the other; the others begin at 0
  int64_t k = 0;              // key of head h: k + h * head_dim
  int64_t v = 0, v_rest = 0;  // value of head h: v, or from `v_heads` on v_rest, + h * head_dim
  int64_t v_heads = 0;
  int64_t split = 0, stride = 0;  // what visual rows have; all
  std::vector<int32_t> q, out;    // [heads]
};
LayerColumns columns_of(const LayerSplit& split, const DecoderSpec& spec);

/// One row of a merged matrix.
struct MergedRow {
  Role role;
  int64_t row;
};
/// In the order of LayerColumns.
std::vector<MergedRow> qkv_rows(const LayerSplit& split, const DecoderSpec& spec);
/// [gate | up] of the neurons of visual rows, then [gate | up] of the others.
std::vector<MergedRow> gate_up_rows(const LayerSplit& split, const DecoderSpec& spec);
/// Columns of o in the order of LayerColumns::out.
std::vector<int64_t> out_columns(const LayerSplit& split, const DecoderSpec& spec);

}  // namespace yopo::runtime
