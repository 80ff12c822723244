#include "search/visual_rows.h"

#include <algorithm>

namespace yopo {

TraceOptions watching(std::function<void(const VisualRows&)> watch) {
  TraceOptions options;
  options.hidden = options.all_logits = false;
  options.visual_rows = std::move(watch);
  return options;
}

std::vector<int64_t> spread_rows(int64_t rows, int64_t most) {
  std::vector<int64_t> kept;
  const int64_t count = std::min(rows, most);
  for (int64_t i = 0; i < count; ++i) kept.push_back(i * rows / count);
  return kept;
}

std::vector<float> gather(const void* data, DType type, const std::vector<int64_t>& rows, int64_t width) {
  std::vector<float> out(rows.size() * size_t(width));
  for (size_t i = 0; i < rows.size(); ++i)
    to_float(static_cast<const char*>(data) + size_t(rows[i] * width) * size_of(type), type, size_t(width),
             out.data() + i * size_t(width));
  return out;
}

}  // namespace yopo
