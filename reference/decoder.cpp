#include "reference/decoder.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/error.h"
#include "reference/attention.h"
#include "reference/norm.h"

namespace yopo {

namespace {

// The flags of one layer as a tensor, or an undefined one when all are set.
at::Tensor head_factors(const std::vector<uint8_t>& kept, at::ScalarType dtype) {
  if (std::all_of(kept.begin(), kept.end(), [](uint8_t flag) { return flag != 0; })) return {};
  at::Tensor factors = at::empty({int64_t(kept.size())}, at::kFloat);
  for (size_t h = 0; h < kept.size(); ++h) factors.data_ptr<float>()[h] = kept[h] ? 1.0f : 0.0f;
  return factors.to(dtype);
}

// Rows of padding are not rotated.
Rotation batch_rotation(const DecoderSpec& spec, const Pass& pass, int64_t past, int64_t rows) {
  const int64_t batch = int64_t(pass.samples.size()), half = spec.head_dim / 2;
  Rotation all{at::ones({batch, 1, rows, half}, at::kFloat), at::zeros({batch, 1, rows, half}, at::kFloat)};
  for (int64_t b = 0; b < batch; ++b) {
    const NewPositions& own = pass.positions[size_t(b)];
    const int64_t padding = pass.samples[size_t(b)].padding, count = int64_t(own.ids.size()) / own.axes;
    ensure(count == (past == 0 ? rows - padding : rows), "one position a row");
    const Rotation table = rotation_of(rope_table(spec, own.ids, own.axes, past + rows - padding));
    all.cos[b][0].slice(0, rows - count).copy_(table.cos);
    all.sin[b][0].slice(0, rows - count).copy_(table.sin);
  }
  return all;
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
  const auto split = [&](const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& norm) {
    const at::Tensor heads = at::linear(x, weight, bias).view({batch, rows, -1, size});
    return (norm.defined() ? rms_norm(heads, norm, spec.rms_norm_eps) : heads).transpose(1, 2);
  };
  const at::Tensor q = rotate(split(w.q, w.q_bias, w.q_norm), rotation);
  at::Tensor k = rotate(split(w.k, w.k_bias, w.k_norm), rotation), v = split(w.v, w.v_bias, {});
  if (pass.cache) {
    auto& [keys, values] = *pass.cache;
    if (int64_t(keys.size()) > layer) {
      ensure(keys[size_t(layer)].size(2) == pass.past, "passes go through a layer in order");
      k = keys[size_t(layer)] = at::cat({keys[size_t(layer)], k}, 2);
      v = values[size_t(layer)] = at::cat({values[size_t(layer)], v}, 2);
    } else {
      ensure(pass.past == 0 && int64_t(keys.size()) == layer, "passes go through a layer in order");
      keys.push_back(k);
      values.push_back(v);
    }
  }
  return at::linear(attend(layer, rule, q, k, v, visual, pass), w.o, w.o_bias);
}

}  // namespace

std::vector<LayerRule> layer_rules(const DecoderSpec& spec, const Plan& plan, const MaskRules& rules,
                                   at::ScalarType dtype) {
  std::vector<LayerRule> layers(size_t(spec.num_hidden_layers));
  for (int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    LayerRule& rule = layers[size_t(l)];
    const LayerPlan& layer = plan.layers[size_t(l)];
    rule.mask = layer_mask(layer, rules);
    if (l >= rules.heads_from_layer) {
      const at::Tensor kept = head_factors(layer.heads, dtype);
      if (kept.defined() && rules.heads_before_softmax) rule.lost_heads = kept == 0;
      if (kept.defined() && !rules.heads_before_softmax) rule.visual_weight = kept;
      if (rules.zero_visual_queries) rule.visual_output = head_factors(layer.updates, dtype);
    }
    if (!layer.alive) {
      if (rules.depth == MaskRules::Depth::AllAfterSoftmax)
        rule.visual_weight = at::zeros({spec.num_attention_heads}, dtype);
      rule.freeze_visual = rules.freeze_visual;
    }
    if (const auto& added = layer.compensation) {
      const auto tensor = [&](const std::vector<float>& values, at::IntArrayRef shape) {
        return at::tensor(values, at::kFloat).view(shape).to(dtype);
      };
      const auto hidden = int64_t(added->bias.size());
      if (added->rank > 0) {
        rule.added_down = tensor(added->down, {added->rank, hidden});
        rule.added_up = tensor(added->up, {hidden, added->rank});
      }
      rule.added_bias = tensor(added->bias, {hidden});
    }
    if (const auto& kept = layer.neurons) {
      rule.lost_neurons = at::ones({spec.intermediate_size}, at::kBool);
      for (const int64_t neuron : *kept) rule.lost_neurons.data_ptr<bool>()[neuron] = false;
    }
  }
  return layers;
}

DecoderPass::DecoderPass(const DecoderSpec& spec, const at::Tensor& embeds, const Pass& pass)
    : spec_(spec), pass_(pass), past_(pass.past), x_(embeds) {
  const int64_t batch = embeds.size(0), rows = embeds.size(1);
  ensure(embeds.dim() == 3 && batch == int64_t(pass.samples.size()), "one layout a sample");
  ensure(batch == int64_t(pass.positions.size()), "the positions of every sample");
  ensure(past_ == 0 || pass.cache, "earlier rows lie in a cache");
  rotation_ = batch_rotation(spec, pass, past_, rows);
  visual_ = visual_tokens(pass.samples, past_ + rows);
  own_visual_ = visual_.slice(1, past_).unsqueeze(2);
  any_visual_ = past_ == 0 && std::any_of(pass.samples.begin(), pass.samples.end(),
                                          [](const SampleLayout& sample) { return sample.visual > 0; });
}

void DecoderPass::layer(int64_t layer, const LayerWeights& w, const LayerRule& rule) {
  const Observer* observer = pass_.observer;
  const at::Tensor before = x_;
  x_ = x_ +
       self_attention(layer, spec_, w, rule, rms_norm(x_, w.input_norm, spec_.rms_norm_eps), rotation_, visual_, pass_);
  const at::Tensor normed = rms_norm(x_, w.post_norm, spec_.rms_norm_eps);
  at::Tensor activation = at::silu(at::linear(normed, w.gate)) * at::linear(normed, w.up);
  if (rule.lost_neurons.defined() && any_visual_)
    activation = activation.masked_fill(own_visual_.logical_and(rule.lost_neurons), 0.0);
  if (observer && observer->activation) observer->activation(layer, past_, activation);
  x_ = x_ + at::linear(activation, w.down);
  if (rule.added_bias.defined() && any_visual_) {
    at::Tensor with = x_ + rule.added_bias;
    if (rule.added_down.defined()) with = with + at::linear(at::linear(normed, rule.added_down), rule.added_up);
    x_ = at::where(own_visual_, with, x_);
  }
  if (rule.freeze_visual && any_visual_)
    x_ = at::where(own_visual_, before, x_);
  else if (pass_.deepstack.defined() && layer < pass_.deepstack.size(0))
    x_ = x_ + pass_.deepstack[layer];
  if (observer && observer->hidden) observer->hidden(layer, x_);
}

at::Tensor run_decoder(const DecoderSpec& spec, const DecoderWeights& weights, const std::vector<LayerRule>& rules,
                       const at::Tensor& embeds, const Pass& pass) {
  ensure(rules.size() == weights.layers.size(), "one rule a layer");
  DecoderPass run(spec, embeds, pass);
  for (size_t l = 0; l < weights.layers.size(); ++l) run.layer(int64_t(l), weights.layers[l], rules[l]);
  return run.hidden();
}

at::Tensor run_head(const DecoderSpec& spec, const DecoderWeights& weights, const at::Tensor& hidden) {
  return at::linear(rms_norm(hidden, weights.final_norm, spec.rms_norm_eps), weights.head);
}

}  // namespace yopo
