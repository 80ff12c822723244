#include "search/neurons.h"

#include <algorithm>
#include <cmath>

#include "compress/low_rank.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "models/tensors.h"
#include "runtime/products.h"
#include "search/visual_rows.h"

namespace yopo {
namespace {

/// A matrix of the checkpoint in its role's own shape, fp32.
std::vector<float> matrix_of(const Checkpoint& checkpoint, const TensorSlot& slot) {
  const TensorView& tensor = checkpoint.at(slot.name);
  const int64_t rows = slot.shape.at(0), columns = slot.shape.at(1);
  std::vector<float> values(size_t(rows * columns));
  for (int64_t row = 0; row < rows; ++row)
    to_float(tensor.bytes.data() + size_t(slot.part.row(row) * columns) * size_of(tensor.dtype), tensor.dtype,
             size_t(columns), values.data() + row * columns);
  return values;
}

std::vector<double> unexplained(const std::vector<float>& x, const std::vector<float>& a, int64_t width,
                                int64_t neurons, double ridge) {
  Moments moments;
  moments.width = width;
  moments.rows = int64_t(x.size()) / width;
  moments.x_sum.assign(size_t(width), 0.0);
  for (size_t i = 0; i < x.size(); ++i) moments.x_sum[i % size_t(width)] += double(x[i]);
  moments.xx.assign(size_t(width * width), 0.0);
  runtime::add_cross_product(x.data(), x.data(), moments.rows, width, width, moments.xx);
  TargetSums targets;
  targets.outputs = neurons;
  targets.sum.assign(size_t(neurons), 0.0);
  targets.square = targets.sum;
  for (size_t i = 0; i < a.size(); ++i) {
    targets.sum[i % size_t(neurons)] += double(a[i]);
    targets.square[i % size_t(neurons)] += double(a[i]) * double(a[i]);
  }
  targets.xt.assign(size_t(width * neurons), 0.0);
  runtime::add_cross_product(x.data(), a.data(), moments.rows, width, neurons, targets.xt);
  return yopo::unexplained(moments, targets, ridge);
}

}  // namespace

std::vector<std::vector<double>> unexplained_activations(const OpenModel& model, const runtime::Engine& engine,
                                                         const std::vector<ModelInput>& pictures,
                                                         const std::vector<double>& norms, double ridge,
                                                         int64_t most_rows) {
  const DecoderSpec& spec = model.spec.text;
  const int64_t width = spec.hidden_size, neurons = spec.intermediate_size;
  const std::vector<TensorSlot> table = tensor_table(model.spec);
  std::vector<std::vector<double>> scores(size_t(spec.num_hidden_layers));
  std::vector<int64_t> kept;
  (void)engine.traces(
      pictures, watching([&](const VisualRows& rows) {
        check_interrupt();
        if (kept.empty()) kept = spread_rows(rows.rows, most_rows);
        const auto count = int64_t(kept.size());
        const std::vector<float> x = gather(rows.normed, rows.type, kept, width);
        const std::vector<float> gate = matrix_of(model.checkpoint, find_slot(table, Role::Gate, rows.layer));
        const std::vector<float> up = matrix_of(model.checkpoint, find_slot(table, Role::Up, rows.layer));
        std::vector<float> a(size_t(count * neurons)), b(a.size());
        runtime::multiply_rows(x.data(), gate.data(), count, width, neurons, a.data());
        runtime::multiply_rows(x.data(), up.data(), count, width, neurons, b.data());
        for (size_t i = 0; i < a.size(); ++i) a[i] = a[i] / (1 + std::exp(-a[i])) * b[i];
        std::vector<double> residual = unexplained(x, a, width, neurons, ridge);
        for (int64_t f = 0; f < neurons; ++f) residual[size_t(f)] *= norms[size_t(rows.layer * neurons + f)];
        scores[size_t(rows.layer)] = std::move(residual);
      }));
  return scores;
}

}  // namespace yopo
