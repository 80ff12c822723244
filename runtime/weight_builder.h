// Fills Weights from any source of rows: a checkpoint's tensors or a random generator.
#pragma once

#include <functional>
#include <memory>
#include <span>

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
  using Find = std::function<TensorSource(Role role, int64_t layer)>;
  /// `find` gives the tensor of a role.
  WeightBuilder(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type, const Ops& ops, Find find);
  std::shared_ptr<Weights> build(bool with_vision);

 private:
  Matrix matrix(LoadedTensors& memory, Role role, int64_t layer, const std::vector<int64_t>* row_order = nullptr,
                const std::vector<int64_t>* column_order = nullptr) const;
  const float* vector(LoadedTensors& memory, Role role, int64_t layer,
                      const std::vector<int64_t>* order = nullptr) const;
  void decoder_layer(int64_t layer, Loaded<DecoderLayerWeights>& into) const;
  void vision_layer(int64_t layer, Loaded<VisionLayerWeights>& into) const;
  void vision_ends(Weights& weights) const;
  void announce(std::span<const Role> matrices, int64_t layer) const;
  int64_t matrix_bytes(std::span<const Role> matrices, int64_t layer) const;

  ModelSpec spec_;
  std::vector<LayerOrder> orders_;
  DType type_;
  const Ops& ops_;
  Find find_;
};

}  // namespace yopo::runtime
