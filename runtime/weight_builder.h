// Fills Weights from any source of rows: a checkpoint's tensors or a random generator.
#pragma once

#include <functional>

#include "runtime/weights.h"

namespace yopo::runtime {

/// A tensor as a source: where it lies, if it lies anywhere, and how to read a row of it as fp32.
struct TensorSource {
  int64_t rows = 0, columns = 0;
  DType type = DType::F32;
  const void* data = nullptr;                          // [rows, columns] of `type`, or null
  std::shared_ptr<const MappedFile> file;              // keeps data alive; null where data is null
  std::function<void(int64_t row, float* out)> read;   // out [columns]; may be called from several threads
  std::string name;                                    // for messages
};

class WeightBuilder {
 public:
  using Find = std::function<TensorSource(Role role, int64_t layer)>;
  /// `find` gives the tensor of a role.
  WeightBuilder(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type, const Ops& ops, Find find);
  std::shared_ptr<const Weights> build(bool with_vision);

 private:
  Matrix matrix(Role role, int64_t layer, const std::vector<int64_t>* row_order = nullptr,
                const std::vector<int64_t>* column_order = nullptr);
  const float* vector(Role role, int64_t layer, const std::vector<int64_t>* order = nullptr);
  void* own(size_t bytes);
  void decoder_layer(int64_t layer);
  void vision();

  const ModelSpec& spec_;
  const std::vector<LayerOrder>& orders_;
  DType type_;
  const Ops& ops_;
  Find find_;
  std::shared_ptr<Weights> weights_;
};

}  // namespace yopo::runtime
