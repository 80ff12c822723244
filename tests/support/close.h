// The one comparison of arrays: reports the worst index; NaN, Inf and other sizes fail.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace yopo::testing {

/// Passes if |actual - expected| <= tolerance (absolute) everywhere.
template <typename A, typename B>
::testing::AssertionResult close(const A& actual, const B& expected, double tolerance) {
  if (size_t(actual.size()) != size_t(expected.size()))
    return ::testing::AssertionFailure() << "sizes differ: " << actual.size() << " and " << expected.size();
  if (actual.size() == 0) return ::testing::AssertionFailure() << "nothing to compare";
  double worst = -1;
  size_t at = 0;
  for (size_t i = 0; i < size_t(actual.size()); ++i) {
    const double difference = std::abs(double(actual[i]) - double(expected[i]));
    if (!(difference <= tolerance) && !(difference <= worst)) {
      worst = std::isnan(difference) ? INFINITY : difference;
      at = i;
    }
  }
  if (worst < 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "worst at " << at << " of " << actual.size() << ": " << double(actual[at])
                                       << " instead of " << double(expected[at]) << ", difference " << worst << " > "
                                       << tolerance;
}

/// As close(), with the tolerance relative to the largest |expected|.
template <typename A, typename B>
::testing::AssertionResult close_relative(const A& actual, const B& expected, double tolerance) {
  double scale = 0;
  for (size_t i = 0; i < size_t(expected.size()); ++i) scale = std::max(scale, std::abs(double(expected[i])));
  return close(actual, expected, tolerance * scale);
}

}  // namespace yopo::testing
