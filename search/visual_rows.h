// Visual rows of a batch as matrices to compute with.
#pragma once

#include <functional>
#include <vector>

#include "models/trace.h"

namespace yopo {

/// Nothing but the rows behind each layer.
TraceOptions watching(std::function<void(const VisualRows&)> watch);
/// At most `most` of `rows`, evenly.
std::vector<int64_t> spread_rows(int64_t rows, int64_t most);
/// These rows of a matrix of `width` columns as fp32.
std::vector<float> gather(const void* data, DType type, const std::vector<int64_t>& rows, int64_t width);

}  // namespace yopo
