#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace yopo {

namespace {

/// Quantile of the standard normal by Newton's method on its distribution function, from below the median.
double normal_quantile(double probability) {
  double x = -std::sqrt(std::max(0.0, -2 * std::log(2 * probability)));
  for (int step = 0; step < 60; ++step) {
    const double error = 0.5 * std::erfc(-x / std::numbers::sqrt2) - probability;
    const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
    const double next = x - error / density;
    if (std::abs(next - x) < 1e-12) return next;
    x = next;
  }
  return x;
}

}  // namespace

const std::vector<float>& normal_table() {
  static const std::vector<float> table = [] {
    std::vector<float> values(65536);
    for (size_t i = 0; i < 32768; ++i) {
      values[i] = float(0.02 * normal_quantile((double(i) + 0.5) / 65536));
      values[65535 - i] = -values[i];
    }
    return values;
  }();
  return table;
}

}  // namespace yopo
