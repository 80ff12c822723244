// Which neurons visual rows cannot do without when compensation stands in for the others.
#pragma once

#include <vector>

#include "models/input.h"
#include "models/spec.h"
#include "runtime/engine.h"

namespace yopo {

/// [L][F]: the part of each neuron's activation act(gate) * up that no linear map of the FFN's input row explains (the
/// root of its mean square over visual rows, after ridge regression), times the norm of its column of the
/// down-projection: what is lost at least where it is dropped and compensated. `engine` is the dense model, `norms`
/// [L * F] are those of the columns. Of at most `most_rows` rows.
std::vector<std::vector<double>> unexplained_activations(const OpenModel& model, const runtime::Engine& engine,
                                                         const std::vector<ModelInput>& pictures,
                                                         const std::vector<double>& norms, double ridge,
                                                         int64_t most_rows);

}  // namespace yopo
