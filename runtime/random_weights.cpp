// Random weights: every element from a counter, so that any order and any number of threads give the same model.
#include <algorithm>

#include "core/error.h"
#include "core/random.h"
#include "runtime/random_model.h"
#include "runtime/weight_builder.h"

namespace yopo::runtime {

void random_row(uint64_t seed, Role role, int64_t layer, int64_t row, int64_t columns, float* out) {
  const std::span<const DeclaredTensor> declared = declared_tensors();
  const auto found = std::find_if(declared.begin(), declared.end(), [&](const auto& one) { return one.role == role; });
  if (found->fill == Fill::One) {
    std::fill_n(out, columns, 1.0f);
    return;
  }
  const std::vector<float>& table = normal_table();
  uint64_t stream = mix64(mix64(mix64(mix64(seed) ^ uint64_t(role)) ^ uint64_t(layer + 1)) ^ uint64_t(row));
  for (int64_t first = 0; first < columns; first += 4) {
    uint64_t bits = mix64(stream++);
    for (int64_t i = first; i < std::min(first + 4, columns); ++i, bits >>= 16) out[i] = table[bits & 0xffff];
  }
}

std::shared_ptr<Weights> random_weights(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type,
                                        uint64_t seed, const Ops& ops, const Arrangement& arrangement) {
  return random_model(spec, orders, type, seed, ops, arrangement, false);
}

std::shared_ptr<Weights> random_model(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type,
                                      uint64_t seed, const Ops& ops, const Arrangement& arrangement, bool with_vision) {
  const auto find = [seed](const TensorSlot& slot) {
    TensorSource source;
    source.rows = slot.shape.size() > 1 ? slot.shape[0] : 1;
    source.columns = element_count(slot.shape, slot.name) / source.rows;
    source.name = slot.name;
    const Role role = slot.tied ? Role::EmbedTokens : slot.role;
    source.read = [seed, role, layer = slot.layer, columns = source.columns](int64_t row, float* out) {
      random_row(seed, role, layer, row, columns, out);
    };
    return source;
  };
  return std::make_shared<WeightBuilder>(spec, orders, type, ops, arrangement, find)->build(with_vision);
}

}  // namespace yopo::runtime
