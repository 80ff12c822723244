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
  const void* data = nullptr;                         // [rows, columns] of `type`, or null
  std::shared_ptr<const MappedFile> file;             // keeps data alive; null where data is null
  std::function<void(int64_t row, float* out)> read;  // out [columns]; may be called from several threads
  std::string name;                                   // for messages
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
  void decoder_layer(int64_t layer, LoadedLayer& into) const;
  void announce(int64_t layer) const;
  int64_t layer_bytes(int64_t layer) const;
  void vision(Weights& weights) const;

  ModelSpec spec_;
  std::vector<LayerOrder> orders_;
  DType type_;
  const Ops& ops_;
  Find find_;
};

}  // namespace yopo::runtime
