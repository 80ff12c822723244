// One decoder layer in fp64 straight from a checkpoint's tensors, independent of both engines: what a permutation must
// leave unchanged.
#pragma once

#include <cmath>
#include <optional>
#include <vector>

#include "models/tensors.h"
#include "tests/support/role_values.h"

namespace yopo::testing {

using Doubles = std::vector<double>;

inline Doubles tensor_of(const OpenModel& model, Role role, int64_t layer) {
  const auto table = tensor_table(model.spec);
  for (const TensorSlot& slot : table)
    if (slot.role == role && slot.layer == layer) return role_values(model.checkpoint, slot);
  return {};
}

/// x [T, in] times weight [out, in] transposed, plus bias [out] if there is one.
inline Doubles linear(const Doubles& x, size_t rows, const Doubles& weight, const Doubles& bias = {}) {
  const size_t in = x.size() / rows, out = weight.size() / in;
  Doubles y(rows * out, 0.0);
  for (size_t t = 0; t < rows; ++t)
    for (size_t o = 0; o < out; ++o) {
      double sum = bias.empty() ? 0.0 : bias[o];
      for (size_t i = 0; i < in; ++i) sum += x[t * in + i] * weight[o * in + i];
      y[t * out + o] = sum;
    }
  return y;
}

/// Half-split rotary embedding of x [T, heads * head_dim] at positions 0, 1, ...: tells the rows inside a head apart.
inline void rotate(Doubles& x, size_t rows, size_t head_dim) {
  const size_t width = x.size() / rows, half = head_dim / 2;
  for (size_t t = 0; t < rows; ++t)
    for (size_t head = 0; head < width / head_dim; ++head)
      for (size_t i = 0; i < half; ++i) {
        const double angle = double(t) * std::pow(10000.0, -double(i) / double(half));
        double& a = x[t * width + head * head_dim + i];
        double& b = x[t * width + head * head_dim + half + i];
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + a * std::sin(angle);
        a = turned;
      }
}

/// Attention and FFN of one layer (residuals, no norms: these are not permuted) over x [T, C], with only `heads` and
/// `neurons` in use, or all where absent. [T, C]
inline Doubles layer_output(const OpenModel& model, int64_t layer, const Doubles& x, size_t rows,
                            const std::vector<uint8_t>* heads = nullptr,
                            const std::vector<int64_t>* neurons = nullptr) {
  const DecoderSpec& spec = model.spec.text;
  const size_t dim = size_t(spec.head_dim), width = size_t(spec.num_attention_heads) * dim;
  const size_t kv_width = size_t(spec.num_key_value_heads) * dim;
  const auto get = [&](Role role) { return tensor_of(model, role, layer); };
  Doubles q = linear(x, rows, get(Role::Q), get(Role::QBias)), k = linear(x, rows, get(Role::K), get(Role::KBias));
  const Doubles v = linear(x, rows, get(Role::V), get(Role::VBias));
  rotate(q, rows, dim);
  rotate(k, rows, dim);
  Doubles mixed(rows * width, 0.0);
  for (size_t head = 0; head < size_t(spec.num_attention_heads); ++head) {
    if (heads && !(*heads)[head]) continue;
    const size_t kv = head / size_t(spec.group_size());
    for (size_t t = 0; t < rows; ++t) {
      Doubles weights(t + 1);
      double total = 0;
      for (size_t s = 0; s <= t; ++s) {
        double score = 0;
        for (size_t i = 0; i < dim; ++i) score += q[t * width + head * dim + i] * k[s * kv_width + kv * dim + i];
        total += weights[s] = std::exp(score / std::sqrt(double(dim)));
      }
      for (size_t s = 0; s <= t; ++s)
        for (size_t i = 0; i < dim; ++i)
          mixed[t * width + head * dim + i] += weights[s] / total * v[s * kv_width + kv * dim + i];
    }
  }
  Doubles y = linear(mixed, rows, get(Role::O), get(Role::OBias));
  for (size_t i = 0; i < y.size(); ++i) y[i] += x[i];
  const Doubles gate = linear(y, rows, get(Role::Gate)), up = linear(y, rows, get(Role::Up));
  const size_t count = gate.size() / rows;
  std::vector<uint8_t> used(count, neurons ? 0 : 1);
  if (neurons)
    for (int64_t neuron : *neurons) used[size_t(neuron)] = 1;
  Doubles active(gate.size());
  for (size_t i = 0; i < gate.size(); ++i)
    active[i] = used[i % count] ? gate[i] / (1 + std::exp(-gate[i])) * up[i] : 0.0;
  const Doubles down = linear(active, rows, get(Role::Down));
  for (size_t i = 0; i < y.size(); ++i) y[i] += down[i];
  return y;
}

}  // namespace yopo::testing
