#include "tests/runtime/reference_decoder.h"

#include <cmath>
#include <cstdlib>

namespace yopo::testing {
namespace {

using Values = std::vector<double>;

/// y [n] = w [n, k] x + bias.
Values multiply(const Values& w, const double* x, int64_t k, const Values& bias = {}) {
  const int64_t n = int64_t(w.size()) / k;
  Values y(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    double sum = bias.empty() ? 0 : bias[size_t(i)];
    for (int64_t j = 0; j < k; ++j) sum += w[size_t(i * k + j)] * x[j];
    y[size_t(i)] = sum;
  }
  return y;
}

Values rms_norm(const double* x, const Values& weight, double eps) {
  double square = 0;
  for (size_t i = 0; i < weight.size(); ++i) square += x[i] * x[i];
  const double scale = 1 / std::sqrt(square / double(weight.size()) + eps);
  Values y(weight.size());
  for (size_t i = 0; i < weight.size(); ++i) y[i] = x[i] * scale * weight[i];
  return y;
}

void norm_heads(Values& x, const Values& weight, double eps) {
  for (size_t at = 0; at < x.size(); at += weight.size()) {
    const Values head = rms_norm(&x[at], weight, eps);
    std::copy(head.begin(), head.end(), x.begin() + std::ptrdiff_t(at));
  }
}

void rotate(Values& x, int64_t heads, int64_t dim, double theta, int64_t position) {
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < dim / 2; ++i) {
      const double angle = double(position) * std::pow(theta, -2.0 * double(i) / double(dim));
      double& a = x[size_t(h * dim + i)];
      double& b = x[size_t(h * dim + dim / 2 + i)];
      const double old = a;
      a = old * std::cos(angle) - b * std::sin(angle);
      b = b * std::cos(angle) + old * std::sin(angle);
    }
}

struct Place {
  int64_t image = -1, row = 0, column = 0;  // image -1: text
};

}  // namespace

ReferenceResult reference_forward(const DecoderSpec& spec, const ReferenceWeights& weights, const Plan& plan,
                                  const std::vector<float>& embeds, const std::vector<int64_t>& positions,
                                  const std::vector<Span>& spans) {
  const int64_t T = int64_t(positions.size()), C = spec.hidden_size, D = spec.head_dim, H = spec.num_attention_heads;
  const int64_t group = H / spec.num_key_value_heads;
  std::vector<Place> place(static_cast<size_t>(T));
  for (size_t s = 0; s < spans.size(); ++s)
    for (int64_t i = 0; i < spans[s].count(); ++i)
      place[size_t(spans[s].start + i)] = {int64_t(s), i / spans[s].columns, i % spans[s].columns};

  ReferenceResult result;
  Values x(embeds.begin(), embeds.end());
  result.hidden = x;
  for (int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    const LayerPlan& layer = plan.layers[size_t(l)];
    const bool seen = layer.alive;
    const auto weight = [&](Role role) { return weights(role, l); };
    const auto bias = [&](Role role) { return spec.attention_bias ? weights(role, l) : Values(); };
    const Values n1 = weight(Role::InputNorm), n2 = weight(Role::PostNorm), wq = weight(Role::Q), wk = weight(Role::K),
                 wv = weight(Role::V), wo = weight(Role::O), wg = weight(Role::Gate), wu = weight(Role::Up),
                 wd = weight(Role::Down);
    const Values bq = bias(Role::QBias), bk = bias(Role::KBias), bv = bias(Role::VBias);
    const Values bo = spec.output_bias ? weights(Role::OBias, l) : Values();
    std::vector<Values> q, k, v;
    for (int64_t t = 0; t < T; ++t) {
      const Values n = rms_norm(&x[size_t(t * C)], n1, spec.rms_norm_eps);
      q.push_back(multiply(wq, n.data(), C, bq));
      k.push_back(multiply(wk, n.data(), C, bk));
      v.push_back(multiply(wv, n.data(), C, bv));
      if (spec.qk_norm) {
        norm_heads(q.back(), weight(Role::HeadQNorm), spec.rms_norm_eps);
        norm_heads(k.back(), weight(Role::HeadKNorm), spec.rms_norm_eps);
      }
      rotate(q.back(), H, D, spec.rope.theta, positions[size_t(t)]);
      rotate(k.back(), H / group, D, spec.rope.theta, positions[size_t(t)]);
    }
    const auto reads = [&](int64_t h, int64_t t, int64_t s) {
      const Place &a = place[size_t(t)], &b = place[size_t(s)];
      if (b.image < 0) return s <= t;
      if (!seen) return false;
      if (a.image < 0) return s <= t && layer.heads[size_t(h)] != 0;
      if (!layer.window) return s <= t;
      const int64_t r = (layer.window->size - 1) / 2;
      return a.image == b.image && std::abs(a.row - b.row) <= r && std::abs(a.column - b.column) <= r &&
             (!layer.window->causal || s <= t);
    };
    for (int64_t t = 0; t < T; ++t) {
      const bool visual = place[size_t(t)].image >= 0;
      if (visual && !seen) continue;
      Values mixed(size_t(H * D), 0.0);
      for (int64_t h = 0; h < H; ++h) {
        if (visual && !layer.updates[size_t(h)]) continue;
        Values weights_of(size_t(T), 0.0);
        double sum = 0, top = -INFINITY;
        const auto score = [&](int64_t s) {
          double dot = 0;
          for (int64_t d = 0; d < D; ++d)
            dot += q[size_t(t)][size_t(h * D + d)] * k[size_t(s)][size_t(h / group * D + d)];
          return dot / std::sqrt(double(D));
        };
        for (int64_t s = 0; s < T; ++s)
          if (reads(h, t, s)) top = std::max(top, weights_of[size_t(s)] = score(s));
        for (int64_t s = 0; s < T; ++s)
          if (reads(h, t, s)) sum += weights_of[size_t(s)] = std::exp(weights_of[size_t(s)] - top);
        for (int64_t s = 0; s < T; ++s)
          if (reads(h, t, s))
            for (int64_t d = 0; d < D; ++d)
              mixed[size_t(h * D + d)] += weights_of[size_t(s)] / sum * v[size_t(s)][size_t(h / group * D + d)];
      }
      const Values out = multiply(wo, mixed.data(), H * D, bo);
      double* row = &x[size_t(t * C)];
      for (int64_t i = 0; i < C; ++i) row[i] += out[size_t(i)];
      const Values n = rms_norm(row, n2, spec.rms_norm_eps);
      Values gate = multiply(wg, n.data(), C);
      const Values up = multiply(wu, n.data(), C);
      std::vector<bool> used(gate.size(), true);
      if (visual && layer.neurons) {
        used.assign(gate.size(), false);
        for (const int64_t neuron : *layer.neurons) used[size_t(neuron)] = true;
      }
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = used[i] ? gate[i] / (1 + std::exp(-gate[i])) * up[i] : 0.0;
      const Values down = multiply(wd, gate.data(), int64_t(gate.size()));
      for (int64_t i = 0; i < C; ++i) row[i] += down[size_t(i)];
      if (visual && layer.compensation) {
        const Compensation& added = *layer.compensation;
        for (int64_t i = 0; i < C; ++i) {
          row[i] += double(added.bias[size_t(i)]);
          for (int64_t r = 0; r < added.rank; ++r)
            for (int64_t j = 0; j < C; ++j)
              row[i] +=
                  double(added.up[size_t(i * added.rank + r)]) * double(added.down[size_t(r * C + j)]) * n[size_t(j)];
        }
      }
    }
    result.hidden.insert(result.hidden.end(), x.begin(), x.end());
  }
  const Values norm = weights(Role::FinalNorm, -1), head = weights(Role::LmHead, -1);
  for (int64_t t = 0; t < T; ++t) {
    const Values n = rms_norm(&x[size_t(t * C)], norm, spec.rms_norm_eps);
    const Values logits = multiply(head, n.data(), C);
    result.logits.insert(result.logits.end(), logits.begin(), logits.end());
  }
  return result;
}

}  // namespace yopo::testing
