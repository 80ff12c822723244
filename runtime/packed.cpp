#include "runtime/packed.h"

#include <algorithm>

#include "core/error.h"
#include "runtime/ops.h"

namespace yopo::runtime {
namespace {

/// Both ends of each run, but for those of the axis.
std::vector<int64_t> ends_of(const std::vector<Run>& runs, int64_t size) {
  std::vector<int64_t> ends;
  for (const Run& run : runs)
    for (const int64_t end : {run.first, run.first + run.count})
      if (end > 0 && end < size && (ends.empty() || ends.back() < end)) ends.push_back(end);
  return ends;
}

std::vector<int64_t> inside(int64_t end, int64_t size) {
  return end > 0 && end < size ? std::vector<int64_t>{end} : std::vector<int64_t>();
}

}  // namespace

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

std::vector<int64_t> LayerCuts::along(Axis axis, int64_t head_dim) const {
  std::vector<int64_t> cuts;
  switch (axis) {
    case Axis::Fixed:
      break;
    case Axis::QueryHeads:
      for (const int64_t head : heads) cuts.push_back(head * head_dim);
      break;
    case Axis::KeyValueHeads:
      for (const int64_t head : kv_heads) cuts.push_back(head * head_dim);
      break;
    case Axis::Neurons:
      cuts = neurons;
      break;
  }
  return cuts;
}

std::vector<LayerCuts> cuts_of(const std::vector<LayerSlices>& layers, const DecoderSpec& spec) {
  std::vector<LayerCuts> cuts;
  for (const LayerSlices& layer : layers)
    cuts.push_back({ends_of(layer.updated_runs, spec.num_attention_heads),
                    inside(layer.counts.kv_heads, spec.num_key_value_heads),
                    inside(layer.counts.neurons, spec.intermediate_size)});
  return cuts;
}

bool serves(const std::vector<LayerCuts>& made, const std::vector<LayerCuts>& wanted) {
  const auto within = [](const std::vector<int64_t>& all, const std::vector<int64_t>& some) {
    return std::includes(all.begin(), all.end(), some.begin(), some.end());
  };
  return std::equal(made.begin(), made.end(), wanted.begin(), wanted.end(), [&](const auto& a, const auto& b) {
    return within(a.heads, b.heads) && within(a.kv_heads, b.kv_heads) && within(a.neurons, b.neurons);
  });
}

}  // namespace yopo::runtime
