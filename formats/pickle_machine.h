// The stack machine of formats/pickle.h.
#pragma once

#include "formats/pickle.h"

namespace yopo {

/// Runs the pickle's opcodes; its values are appended to `values`, the root's number is returned. UserError as
/// Pickle::parse says, except for what only the whole shows: values that hold themselves and deep nesting.
PickleId run_pickle(std::span<const std::byte> bytes, const std::string& where, std::vector<PickleValue>& values);

}  // namespace yopo
