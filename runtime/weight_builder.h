// Fills Weights from any source of rows: a checkpoint's tensors or a random generator.
#pragma once

#include <functional>
#include <memory>

#include "runtime/weights.h"

namespace yopo::runtime {

/// A tensor as a source: where it lies, if it lies anywhere, and how to read a row of it as fp32.
struct TensorSource {
  int64_t rows = 0, columns = 0;
  DType type = DType::F32;
  const void* data = nullptr;                         // the stored tensor, rows of `columns` of `type`, or null
  RowPart part = {};                                  // which of the stored rows
  std::shared_ptr<const MappedFile> file;             // keeps data alive; null where data is null
  std::function<void(int64_t row, float* out)> read;  // out [columns]; may be called from several threads
  std::string name;                                   // for messages
  const void* row_data(int64_t row) const { return offset(data, type, part.row(row) * columns); }
  /// Whether the rows lie one behind the other.
  bool contiguous() const { return part.whole() || part.run >= rows; }
  /// Bytes of the file from the first row to the last.
  size_t file_offset() const { return size_t(static_cast<const std::byte*>(row_data(0)) - file->bytes().data()); }
  size_t file_bytes() const { return size_t((part.row(rows - 1) - part.row(0) + 1) * columns) * size_of(type); }
};

/// Keeps spec, orders and sources: the layers that it makes are loaded later.
class WeightBuilder : public std::enable_shared_from_this<WeightBuilder> {
 public:
  using Find = std::function<TensorSource(const TensorSlot& slot)>;
  /// `find` gives the tensor of a slot.
  WeightBuilder(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type, const Ops& ops,
                const Arrangement& arrangement, Find find);
  std::shared_ptr<Weights> build(bool with_vision);

 private:
  /// `split` (or null): of the layer, whose columns are ordered and, packed, cut by it.
  Matrix matrix(LoadedTensors& memory, const TensorSlot& slot, bool packed, const LayerSplit* split) const;
  /// `rows` [result.rows, result.columns] in host memory become tiles of `result`, cut at column `cut`.
  void pack(LoadedTensors& memory, const void* rows, int64_t cut, Matrix& result) const;
  /// Rows of several matrices as one; packed, it is cut at row `split`.
  Matrix merged(LoadedTensors& memory, int64_t layer, const std::vector<MergedRow>& rows, int64_t split) const;
  /// Of q, k and v, zeros where one has none; null where none has.
  const float* merged_bias(LoadedTensors& memory, int64_t layer, const std::vector<MergedRow>& rows) const;
  /// In order, all finite.
  std::vector<float> vector_values(const TensorSlot& slot) const;
  const float* on_device(LoadedTensors& memory, const std::vector<float>& values) const;
  void fill_merged(LoadedTensors& memory, int64_t layer, DecoderLayerWeights& into) const;
  /// The order in which an axis of a slot is read; empty: as it is stored.
  std::vector<int64_t> order_of(const TensorSlot& slot, Axis axis) const;
  /// Every member that the model has a tensor for.
  template <typename Tensors>
  void fill(LoadedTensors& memory, int64_t layer, bool packed, Tensors& into) const;
  /// All layers of one kind, not yet loaded.
  template <typename Layer>
  std::unique_ptr<LayerStore<Layer>> layers(TensorPlace place, int64_t count);
  void announce(TensorPlace place, int64_t layer) const;

  ModelSpec spec_;
  std::vector<TensorSlot> table_;
  std::vector<LayerOrder> orders_;
  DType type_;
  const Ops& ops_;
  Arrangement arrangement_;
  bool packs_ = false, merges_ = false;  // what of it the device gains by
  Find find_;
};

}  // namespace yopo::runtime
