// What a forward in 16 bits may differ by from one in fp32.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "models/trace.h"

namespace yopo::testing {

/// Every rounding to 16 bits has a relative error of at most `unit` (bf16: 2^-9, fp16: 2^-12). A row's `branches`, two
/// a layer, are rounded at five places each (input, weights, projections, mixture, output), and these errors are
/// independent: the row's error norm stays below unit sqrt(5 branches) times the largest norm that the row had, times
/// what the layers amplify: 4, or more where the case's own fp32 run (unit 2^-25) was measured further from its fp64
/// run than that, by `noise` (Phi-3 with the long factors: 14). hidden [L + 1, T, C].
inline void expect_within_row_norm_bound(const Trace& trace, const std::vector<float>& hidden, int64_t branches,
                                         double noise, double unit) {
  ASSERT_EQ(trace.hidden.size(), hidden.size());
  const int64_t layers = trace.layers, length = trace.length, size = trace.hidden_size;
  const auto row_norm = [&](int64_t l, int64_t t) {
    double square = 0;
    for (int64_t c = 0; c < size; ++c) square += std::pow(double(hidden[size_t((l * length + t) * size + c)]), 2);
    return std::sqrt(square);
  };
  const double independent = std::sqrt(5.0 * double(branches));
  double largest = 0;
  for (int64_t i = 0; i < (layers + 1) * length; ++i) largest = std::max(largest, row_norm(i / length, i % length));
  const double amplification = std::max(4.0, noise / (independent * 0x1p-25 * largest));
  double total = 0;
  for (int64_t t = 0; t < length; ++t) {
    double norm = 0, error = 0;
    for (int64_t l = 0; l <= layers; ++l) {
      error = 0;
      for (int64_t c = 0; c < size; ++c) {
        const size_t i = size_t((l * length + t) * size + c);
        error += (double(trace.hidden[i]) - hidden[i]) * (double(trace.hidden[i]) - hidden[i]);
      }
      norm = std::max(norm, row_norm(l, t));
    }
    const double bound = amplification * independent * unit * norm;
    EXPECT_LE(std::sqrt(error), bound) << "row " << t;
    EXPECT_TRUE(std::isfinite(error));
    total += error;
  }
  EXPECT_GT(total, 0) << "nothing was rounded";
}

}  // namespace yopo::testing
