// What visual rows lost, as a linear map of low rank of what is there: reduced-rank ridge regression.
#pragma once

#include <cstdint>
#include <vector>

#include "plans/plan.h"

namespace yopo {

/// Sums over n rows of inputs x [C] and targets t [C]: all that a fit needs.
struct Moments {
  int64_t rows = 0, width = 0;
  std::vector<double> x_sum, t_sum;  // [C]
  std::vector<double> xx, xt;        // [C, C] row-major: sum of x x^T, sum of x t^T
};

/// Minimises the squared error of t - (up down x + bias) over rows, with a ridge of `ridge` times the mean variance of
/// x on the full-rank map: W = (Xc^T Xc + lambda I)^-1 Xc^T Tc, projected on the `rank` directions of the target in
/// which the fitted values vary most (Izenman, "Reduced-rank regression for the multivariate linear model", 1975; with
/// ridge: Mukherjee and Zhu, 2011). The same moments give the same vectors. UserError naming `where` for NaN or Inf.
Compensation fit_low_rank(const Moments& moments, int64_t rank, double ridge, const std::string& where);

/// Sums of `outputs` targets over the same inputs as xx and x_sum of `moments`.
struct TargetSums {
  int64_t outputs = 0;
  std::vector<double> sum, square;  // [outputs]
  std::vector<double> xt;           // [C, outputs]
};
/// For each target the root of the mean square that ridge regression on the inputs leaves (all ranks, as above).
std::vector<double> unexplained(const Moments& moments, const TargetSums& targets, double ridge);

}  // namespace yopo
