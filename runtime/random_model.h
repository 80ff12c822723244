// Weights of a whole model from a seed.
#pragma once

#include "runtime/weights.h"

namespace yopo::runtime {

/// random_weights, and with `with_vision` the tower's and projector's, too.
std::shared_ptr<Weights> random_model(const ModelSpec& spec, const std::vector<LayerOrder>& orders, DType type,
                                      uint64_t seed, const Ops& ops, const Arrangement& arrangement, bool with_vision);

}  // namespace yopo::runtime
