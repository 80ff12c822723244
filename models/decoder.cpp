#include "models/decoder.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/error.h"
#include "models/attention.h"
#include "models/rope.h"

namespace yopo {

namespace {

// The flags of one layer as a tensor, or an undefined one when all are set.
at::Tensor head_factors(const std::vector<uint8_t>& kept, at::ScalarType dtype) {
  if (std::all_of(kept.begin(), kept.end(), [](uint8_t flag) { return flag != 0; })) return {};
  at::Tensor factors = at::empty({int64_t(kept.size())}, at::kFloat);
  for (size_t h = 0; h < kept.size(); ++h) factors.data_ptr<float>()[h] = kept[h] ? 1.0f : 0.0f;
  return factors.to(dtype);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scaled = wide * at::rsqrt((wide * wide).mean(-1, true) + eps);
  return scaled.to(x.scalar_type()) * weight;
}

struct Rotation {
  at::Tensor cos, sin;  // [B, 1, T, D / 2], fp32
};
Rotation rotation_of(const DecoderSpec& spec, const std::vector<int64_t>& positions, int64_t batch, int64_t rows) {
  RopeTable table = rope_table(spec, positions);
  ensure(table.half * 2 == spec.head_dim, "the rotation covers the whole head");
  const auto tensor = [&](std::vector<float>& values) {
    return at::from_blob(values.data(), {batch, 1, rows, table.half}, at::kFloat).clone();
  };
  return {tensor(table.cos), tensor(table.sin)};
}

// x [B, heads, T, D], half-split layout.
at::Tensor rotate(const at::Tensor& x, const Rotation& rotation) {
  const int64_t half = x.size(3) / 2;
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor a = wide.slice(3, 0, half), b = wide.slice(3, half);
  return at::cat({a * rotation.cos - b * rotation.sin, b * rotation.cos + a * rotation.sin}, 3).to(x.scalar_type());
}

// Which of the tokens so far are visual: bool [B, keys].
at::Tensor visual_tokens(const std::vector<SampleLayout>& samples, int64_t keys) {
  at::Tensor visual = at::zeros({int64_t(samples.size()), keys}, at::kBool);
  for (size_t b = 0; b < samples.size(); ++b)
    for (const Span& span : samples[b].spans)
      visual[int64_t(b)].slice(0, span.start, span.start + span.count()).fill_(true);
  return visual;
}

// Self-attention with its projections: normed x [B, T, C] -> [B, T, C]. Extends the cache.
at::Tensor self_attention(int64_t layer, const DecoderSpec& spec, const LayerWeights& w, const LayerRule& rule,
                          const at::Tensor& x, const Rotation& rotation, const at::Tensor& visual, const Pass& pass) {
  const int64_t batch = x.size(0), rows = x.size(1), size = spec.head_dim;
  const auto split = [&](const at::Tensor& weight, const at::Tensor& bias) {
    return at::linear(x, weight, bias).view({batch, rows, -1, size}).transpose(1, 2);
  };
  const at::Tensor q = rotate(split(w.q, w.q_bias), rotation);
  at::Tensor k = rotate(split(w.k, w.k_bias), rotation), v = split(w.v, w.v_bias);
  if (pass.cache) {
    auto& [keys, values] = *pass.cache;
    if (int64_t(keys.size()) > layer) {
      k = keys[size_t(layer)] = at::cat({keys[size_t(layer)], k}, 2);
      v = values[size_t(layer)] = at::cat({values[size_t(layer)], v}, 2);
    } else {
      keys.push_back(k);
      values.push_back(v);
    }
  }
  return at::linear(attend(layer, rule, q, k, v, visual, pass), w.o);
}

}  // namespace

std::vector<LayerRule> layer_rules(const DecoderSpec& spec, const Plan& plan, const MaskRules& rules,
                                   at::ScalarType dtype) {
  std::vector<LayerRule> layers(size_t(spec.num_hidden_layers));
  for (int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    LayerRule& rule = layers[size_t(l)];
    const auto& heads = plan.heads[size_t(l)];
    const auto& updates = plan.updated()[size_t(l)];
    rule.mask = layer_mask(plan, rules, l);
    if (l >= rules.heads_from_layer) {
      const at::Tensor kept = head_factors(heads, dtype);
      if (kept.defined() && rules.heads_before_softmax) rule.lost_heads = kept == 0;
      if (kept.defined() && !rules.heads_before_softmax) rule.visual_weight = kept;
      if (rules.zero_visual_queries) rule.visual_output = head_factors(updates, dtype);
    }
    if (l >= plan.visual_layers) {
      if (rules.depth == MaskRules::Depth::AllAfterSoftmax)
        rule.visual_weight = at::zeros({spec.num_attention_heads}, dtype);
      rule.freeze_visual = rules.freeze_visual;
    }
    if (const auto& kept = plan.ffn[size_t(l)]) {
      rule.lost_neurons = at::ones({spec.intermediate_size}, at::kBool);
      for (const int64_t neuron : *kept) rule.lost_neurons.data_ptr<bool>()[neuron] = false;
    }
  }
  return layers;
}

at::Tensor run_decoder(const DecoderSpec& spec, const DecoderWeights& weights, const std::vector<LayerRule>& rules,
                       const at::Tensor& embeds, const Pass& pass) {
  const int64_t batch = embeds.size(0), rows = embeds.size(1);
  ensure(embeds.dim() == 3 && batch == int64_t(pass.samples.size()), "one layout a sample");
  ensure(batch * rows == int64_t(pass.positions.size()), "one position a row");
  ensure(rules.size() == weights.layers.size(), "one rule a layer");
  const int64_t past = pass.cache ? pass.cache->length() : 0;
  const Rotation rotation = rotation_of(spec, pass.positions, batch, rows);
  const at::Tensor visual = visual_tokens(pass.samples, past + rows);
  const at::Tensor own_visual = visual.slice(1, past).unsqueeze(2);  // [B, T, 1]
  const bool any_visual = past == 0 && std::any_of(pass.samples.begin(), pass.samples.end(),
                                                   [](const SampleLayout& sample) { return sample.visual > 0; });
  const Observer* observer = pass.observer;

  at::Tensor x = embeds;
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    const LayerWeights& w = weights.layers[l];
    const LayerRule& rule = rules[l];
    const at::Tensor before = x;
    x = x +
        self_attention(int64_t(l), spec, w, rule, rms_norm(x, w.input_norm, spec.rms_norm_eps), rotation, visual, pass);
    const at::Tensor normed = rms_norm(x, w.post_norm, spec.rms_norm_eps);
    at::Tensor activation = at::silu(at::linear(normed, w.gate)) * at::linear(normed, w.up);
    if (rule.lost_neurons.defined() && any_visual)
      activation = activation.masked_fill(own_visual.logical_and(rule.lost_neurons), 0.0);
    if (observer && observer->activation) observer->activation(int64_t(l), past, activation);
    x = x + at::linear(activation, w.down);
    if (rule.freeze_visual && any_visual) x = at::where(own_visual, before, x);
    if (observer && observer->hidden) observer->hidden(int64_t(l), x);
  }
  return x;
}

at::Tensor run_head(const DecoderSpec& spec, const DecoderWeights& weights, const at::Tensor& hidden) {
  return at::linear(rms_norm(hidden, weights.norm, spec.rms_norm_eps), weights.head);
}

}  // namespace yopo
