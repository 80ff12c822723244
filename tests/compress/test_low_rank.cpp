#include "compress/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/error.h"

namespace yopo {
namespace {

struct Rows {
  int64_t width;
  std::vector<std::vector<double>> x, t;
};

/// x random; t = up (down x) + bias + noise, with a map of `rank`.
Rows drawn(int64_t width, int64_t rank, int64_t count, double noise, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> down(size_t(rank * width)), up(size_t(width * rank)), bias(static_cast<size_t>(width));
  for (auto* values : {&down, &up, &bias})
    for (double& value : *values) value = normal(random);
  Rows rows{width, {}, {}};
  for (int64_t i = 0; i < count; ++i) {
    std::vector<double> x(static_cast<size_t>(width)), t = bias;
    for (size_t j = 0; j < x.size(); ++j) x[j] = normal(random) + (j % 3 == 0 ? 2.0 : 0.0);
    for (int64_t r = 0; r < rank; ++r) {
      double inner = 0;
      for (int64_t j = 0; j < width; ++j) inner += down[size_t(r * width + j)] * x[size_t(j)];
      for (int64_t j = 0; j < width; ++j) t[size_t(j)] += up[size_t(j * rank + r)] * inner;
    }
    for (double& value : t) value += noise * normal(random);
    rows.x.push_back(x), rows.t.push_back(t);
  }
  return rows;
}

Moments moments_of(const Rows& rows) {
  const auto width = size_t(rows.width);
  Moments m{int64_t(rows.x.size()),
            rows.width,
            std::vector<double>(width),
            std::vector<double>(width),
            std::vector<double>(width * width),
            std::vector<double>(width * width)};
  for (size_t i = 0; i < rows.x.size(); ++i)
    for (size_t a = 0; a < width; ++a) {
      m.x_sum[a] += rows.x[i][a], m.t_sum[a] += rows.t[i][a];
      for (size_t b = 0; b < width; ++b) {
        m.xx[a * width + b] += rows.x[i][a] * rows.x[i][b];
        m.xt[a * width + b] += rows.x[i][a] * rows.t[i][b];
      }
    }
  return m;
}

/// Mean squared error of the fit over the rows.
double error_of(const Compensation& fit, const Rows& rows) {
  double sum = 0;
  for (size_t i = 0; i < rows.x.size(); ++i)
    for (int64_t a = 0; a < rows.width; ++a) {
      double value = double(fit.bias[size_t(a)]);
      for (int64_t r = 0; r < fit.rank; ++r)
        for (int64_t b = 0; b < rows.width; ++b)
          value += double(fit.up[size_t(a * fit.rank + r)]) * double(fit.down[size_t(r * rows.width + b)]) *
                   rows.x[i][size_t(b)];
      sum += std::pow(rows.t[i][size_t(a)] - value, 2);
    }
  return sum / double(rows.x.size());
}

TEST(LowRank, FindsTheMapThatMadeTheRows) {
  for (const int64_t width : {6, 40}) {  // all eigenvectors, and subspace iteration
    const Rows rows = drawn(width, 3, 400, 0, 1);
    const Compensation fit = fit_low_rank(moments_of(rows), 3, 1e-9, "test");
    ASSERT_EQ(fit.down.size(), size_t(3 * width));
    EXPECT_LT(error_of(fit, rows), 1e-6) << width;
    EXPECT_GT(error_of(fit_low_rank(moments_of(rows), 2, 1e-9, "test"), rows), 0.1) << "one direction short";
  }
}

TEST(LowRank, EachRankIsNoWorseAndTheFullOneIsLeastSquares) {
  const Rows rows = drawn(40, 40, 600, 0.5, 2);
  const Moments moments = moments_of(rows);
  double last = error_of(fit_low_rank(moments, 0, 1e-6, "test"), rows);
  double variance = 0;
  for (int64_t a = 0; a < 40; ++a) {
    double mean = moments.t_sum[size_t(a)] / 600, sum = 0;
    for (const auto& t : rows.t) sum += std::pow(t[size_t(a)] - mean, 2);
    variance += sum / 600;
  }
  EXPECT_NEAR(last, variance, variance * 1e-6) << "rank 0 is the mean";
  for (const int64_t rank : {1, 2, 4, 8, 16, 32, 40}) {
    const double error = error_of(fit_low_rank(moments, rank, 1e-6, "test"), rows);
    EXPECT_LE(error, last * (1 + 1e-6)) << rank;
    last = error;
  }
  EXPECT_LT(last, 0.25 * 40 * 1.05) << "what is left is the noise";
}

TEST(LowRank, ARidgeShrinks) {
  const Rows rows = drawn(8, 8, 40, 0.5, 3);
  const Moments moments = moments_of(rows);
  const auto size_of = [](const Compensation& fit) {
    double sum = 0;
    for (const float value : fit.down) sum += double(value) * double(value);
    return sum;
  };
  const Compensation loose = fit_low_rank(moments, 8, 1e-9, "test"), tight = fit_low_rank(moments, 8, 10, "test");
  EXPECT_LT(size_of(tight), 0.5 * size_of(loose));
  EXPECT_EQ(fit_low_rank(moments, 8, 10, "test"), tight) << "the same moments, the same vectors";
}

TEST(LowRank, ConstantRowsLeaveTheMean) {
  Rows rows{3, {}, {}};
  for (int i = 0; i < 5; ++i) rows.x.push_back({0, 0, 0}), rows.t.push_back({1, 2, 3});
  const Compensation fit = fit_low_rank(moments_of(rows), 2, 1e-3, "test");
  EXPECT_LT(error_of(fit, rows), 1e-12);
}

// A target that is linear in the inputs is explained, one that is not is left, whatever their size.
TEST(LowRank, WhatALinearMapCannotExplainIsLeft) {
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  const int64_t width = 6;
  Rows rows{width, {}, {}};
  TargetSums targets;
  targets.outputs = 3;
  targets.sum.assign(3, 0.0), targets.square.assign(3, 0.0), targets.xt.assign(size_t(width * 3), 0.0);
  double variance = 0;
  for (int i = 0; i < 4000; ++i) {
    std::vector<double> x(static_cast<size_t>(width));
    for (double& value : x) value = 1 + normal(random);
    const double noise = normal(random);
    variance += noise * noise;
    const std::vector<double> t{100 * x[0] - 7 * x[3] + 50, 0.5 * noise, x[1] + 0.5 * noise};
    for (size_t f = 0; f < 3; ++f) {
      targets.sum[f] += t[f], targets.square[f] += t[f] * t[f];
      for (size_t a = 0; a < x.size(); ++a) targets.xt[a * 3 + f] += x[a] * t[f];
    }
    rows.x.push_back(x), rows.t.push_back(std::vector<double>(static_cast<size_t>(width), 0.0));
  }
  const std::vector<double> left = unexplained(moments_of(rows), targets, 1e-9);
  const double expected = 0.5 * std::sqrt(variance / 4000);
  EXPECT_LT(left[0], 1e-3);
  EXPECT_NEAR(left[1], expected, 0.01);
  EXPECT_NEAR(left[2], expected, 0.01);
}

TEST(LowRank, NaNIsNamed) {
  Rows rows = drawn(4, 1, 10, 0, 4);
  rows.t[3][2] = std::nan("");
  EXPECT_THROW(fit_low_rank(moments_of(rows), 1, 1e-3, "layer 3"), UserError);
}

}  // namespace
}  // namespace yopo
