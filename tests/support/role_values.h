// The values of a role as they are stored, whatever tensor it shares.
#pragma once

#include <vector>

#include "models/tensors.h"

namespace yopo::testing {

inline std::vector<double> role_values(const Checkpoint& checkpoint, const TensorSlot& slot) {
  const std::vector<float> stored = checkpoint.at(slot.name, slot.stored).floats();
  if (slot.part.whole()) return {stored.begin(), stored.end()};
  const int64_t columns = int64_t(stored.size()) / slot.stored[0];
  std::vector<double> values;
  for (int64_t row = 0; row < slot.shape[0]; ++row)
    for (int64_t column = 0; column < columns; ++column)
      values.push_back(double(stored[size_t(slot.part.row(row) * columns + column)]));
  return values;
}

}  // namespace yopo::testing
