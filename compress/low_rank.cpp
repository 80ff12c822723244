#include "compress/low_rank.h"

#include <cmath>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>

#include "core/error.h"
#include "core/random.h"

namespace yopo {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::VectorXd;

constexpr int64_t exact_width = 32;  // up to here all eigenvectors are cheap

/// The first `rank` eigenvectors of a symmetric matrix, those of the largest eigenvalues: [C, rank].
Matrix leading_directions(const Matrix& symmetric, int64_t rank) {
  const int64_t width = symmetric.rows();
  if (width <= exact_width) {
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(symmetric);
    ensure(solver.info() == Eigen::Success, "eigenvectors of a finite symmetric matrix");
    return solver.eigenvectors().rightCols(rank).rowwise().reverse();
  }
  // Subspace iteration (Halko, Martinsson, Tropp, arXiv 0909.4061): the directions that matter stand out.
  constexpr int64_t spare = 8, rounds = 6;
  const int64_t columns = std::min(width, rank + spare);
  Matrix basis(width, columns);
  for (int64_t i = 0; i < basis.size(); ++i) basis.data()[i] = uniform(1, uint64_t(i)) - 0.5;
  for (int64_t round = 0; round < rounds; ++round) {
    const Matrix next = symmetric * basis;
    const Eigen::HouseholderQR<Matrix> qr(next);
    basis = qr.householderQ() * Matrix::Identity(width, columns);
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> small(Eigen::MatrixXd(basis.transpose() * symmetric * basis));
  ensure(small.info() == Eigen::Success, "eigenvectors of a finite symmetric matrix");
  return basis * Matrix(small.eigenvectors().rightCols(rank).rowwise().reverse());
}

void check_moments(const std::vector<double>& values, const std::string& where) {
  for (const double value : values)
    require(std::isfinite(value), "{}: compensation: what visual rows lost holds {}", where, value);
}

std::vector<float> floats_of(const Matrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.size()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(matrix.data()[i]);
  return values;
}

}  // namespace

std::vector<double> unexplained(const Moments& moments, const TargetSums& targets, double ridge) {
  const int64_t width = moments.width, outputs = targets.outputs;
  const double rows = double(moments.rows);
  const Vector x_mean = Eigen::Map<const Vector>(moments.x_sum.data(), width) / rows;
  const Vector t_mean = Eigen::Map<const Vector>(targets.sum.data(), outputs) / rows;
  const Matrix xx = Eigen::Map<const Matrix>(moments.xx.data(), width, width) - rows * x_mean * x_mean.transpose();
  const Matrix xt = Eigen::Map<const Matrix>(targets.xt.data(), width, outputs) - rows * x_mean * t_mean.transpose();
  Matrix ridged = xx;
  ridged.diagonal().array() += std::max(ridge * xx.trace() / double(width), 1e-30);
  const Eigen::LLT<Matrix> solver(ridged);
  const Matrix w = solver.info() == Eigen::Success ? Matrix(solver.solve(xt)) : Matrix::Zero(width, outputs);
  const Matrix xw = xx * w;
  std::vector<double> left(static_cast<size_t>(outputs));
  for (int64_t f = 0; f < outputs; ++f) {
    const double all = targets.square[size_t(f)] - rows * t_mean[f] * t_mean[f];
    const double rest = all - 2 * w.col(f).dot(xt.col(f)) + w.col(f).dot(xw.col(f));
    left[size_t(f)] = std::sqrt(std::max(rest, 0.0) / rows);
  }
  return left;
}

Compensation fit_low_rank(const Moments& moments, int64_t rank, double ridge, const std::string& where) {
  const int64_t width = moments.width;
  ensure(moments.rows > 0 && rank >= 0 && rank <= width && int64_t(moments.xx.size()) == width * width,
         "moments of some rows, and a rank within their width");
  for (const auto* values : {&moments.x_sum, &moments.t_sum, &moments.xx, &moments.xt}) check_moments(*values, where);
  const double rows = double(moments.rows);
  const Vector x_mean = Eigen::Map<const Vector>(moments.x_sum.data(), width) / rows;
  const Vector t_mean = Eigen::Map<const Vector>(moments.t_sum.data(), width) / rows;
  Compensation fit;
  fit.rank = rank;
  if (rank == 0) {
    fit.bias = floats_of(t_mean);
    return fit;
  }
  const Matrix xx = Eigen::Map<const Matrix>(moments.xx.data(), width, width) - rows * x_mean * x_mean.transpose();
  const Matrix xt = Eigen::Map<const Matrix>(moments.xt.data(), width, width) - rows * x_mean * t_mean.transpose();
  Matrix ridged = xx;
  const double lambda = std::max(ridge * xx.trace() / double(width), 1e-30);
  ridged.diagonal().array() += lambda;
  const Eigen::LLT<Matrix> solver(ridged);
  // Rounding may leave a variance below zero; then there is nothing to fit but the mean.
  if (solver.info() != Eigen::Success) {
    fit.down.assign(size_t(rank * width), 0.0f);
    fit.up.assign(size_t(width * rank), 0.0f);
    fit.bias = floats_of(t_mean);
    return fit;
  }
  const Matrix w = solver.solve(xt);                                   // [C, C], x^T w = t^T
  const Matrix up = leading_directions(w.transpose() * xx * w, rank);  // [C, rank]
  const Matrix down = (w * up).transpose();                            // [rank, C]
  fit.up = floats_of(up);
  fit.down = floats_of(down);
  fit.bias = floats_of(t_mean - up * (down * x_mean));
  return fit;
}

}  // namespace yopo
