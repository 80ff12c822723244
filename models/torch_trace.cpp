// Samples traced and observed: the forward with somebody looking.
#include <algorithm>
#include <memory>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "calibration/observers.h"
#include "core/error.h"
#include "models/torch_state.h"

namespace yopo {

using namespace torch_steps;

namespace {

// Copies blocks of attention weights into [L, H, rows, keys] at the right rows; later keys stay 0.
void keep_attention(std::vector<float>& out, const AttentionBlock& seen, int64_t heads, int64_t first_row, int64_t rows,
                    int64_t keys) {
  const std::vector<float> weights = floats_of(seen.weights[0]);
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t r = 0; r < seen.block.rows; ++r) {
      const float* from = weights.data() + (h * seen.block.rows + r) * seen.block.keys;
      float* to = out.data() + ((seen.layer * heads + h) * rows + first_row + r) * keys;
      std::copy(from, from + seen.block.keys, to);
    }
}

void append(std::vector<float>& to, const at::Tensor& tensor) {
  const std::vector<float> values = floats_of(tensor);
  to.insert(to.end(), values.begin(), values.end());
}

// One sample of traces(): what its observers write to must not move.
struct Tracing {
  Tracing(const DecoderSpec& text, const ModelInput& given, const TraceOptions& wanted)
      : input(given), options(wanted), samples{layout_of(given.spans, 0)}, positions{positions_of(given)},
        sums(text, samples.front()), counted(sums.callbacks()) {
    const int64_t length = input.length(), heads = text.num_attention_heads, steps = int64_t(options.decode.size());
    trace.layers = text.num_hidden_layers;
    trace.length = length;
    trace.hidden_size = text.hidden_size;
    trace.vocab_size = text.vocab_size;
    trace.heads = heads;
    trace.intermediate_size = text.intermediate_size;
    if (options.hidden)
      observer.hidden = [this](int64_t, const at::Tensor& output) { append(decoding ? trace.decode_hidden : trace.hidden, output); };
    if (options.statistics) observer.activation = counted.activation;
    if (options.attention) {
      trace.attention.assign(size_t(trace.layers * heads * length * length), 0.0f);
      trace.decode_attention.assign(size_t(steps * trace.layers * heads * (length + steps)), 0.0f);
    }
    if (options.statistics || options.attention)
      observer.attention = [this, heads, length, steps](const AttentionBlock& seen) {
        if (options.statistics) counted.attention(seen);
        if (!options.attention) return;
        if (seen.block.past == 0) return keep_attention(trace.attention, seen, heads, seen.block.first, length, length);
        keep_attention(step_attention, seen, heads, 0, 1, length + steps);
      };
  }
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;

  /// Takes the best token of the last row of logits, if tokens are to be chosen.
  void choose(const std::vector<float>& logits, const std::vector<int64_t>& ends) {
    if (ended || int64_t(trace.generated.size()) >= options.generate) return;
    const int64_t vocab = trace.vocab_size;
    const int64_t token =
        best_token(at::from_blob(const_cast<float*>(logits.data()) + logits.size() - size_t(vocab), {vocab}, at::kFloat));
    ended = std::find(ends.begin(), ends.end(), token) != ends.end();
    if (!ended) trace.generated.push_back(token);
  }
  bool has_next(size_t step) const {
    if (options.generate == 0) return step < options.decode.size();
    return !ended && int64_t(step) + 1 < options.generate;
  }
  int64_t next_token(size_t step) const { return options.generate == 0 ? options.decode[step] : trace.generated[step]; }

  void finish_statistics() {
    if (!options.statistics) return;
    SampleStatistics seen = sums.statistics();
    trace.ratio_prefill = std::move(seen.ratio_prefill);
    trace.ratio_text = std::move(seen.ratio_text);
    trace.ratio_decode = std::move(seen.ratio_decode);
    trace.ffn_abs_mean = std::move(seen.abs_sum);
    const double rows = double(std::max<int64_t>(1, samples.front().visual));
    for (double& value : trace.ffn_abs_mean) value /= rows;
  }

  const ModelInput& input;
  const TraceOptions& options;
  std::vector<SampleLayout> samples;
  std::vector<NewPositions> positions;
  SampleObserver sums;
  Observer counted, observer;
  KvCache cache;
  bool decoding = false, ended = false;
  std::vector<float> step_attention;
  Trace trace;
};

}  // namespace

Trace TorchEngine::trace(const ModelInput& input, const Plan& plan, const TraceOptions& options,
                         const MaskRules* rules) const {
  return std::move(traces({input}, plan, {options}, rules).front());
}

std::vector<Trace> TorchEngine::traces(const std::vector<ModelInput>& inputs, const Plan& plan,
                                       const std::vector<TraceOptions>& options, const MaskRules* rules) const {
  const c10::InferenceMode inference;
  const State& state = *state_;
  const DecoderSpec& text = state.spec.text;
  ensure(inputs.size() == options.size(), "options of every sample");
  const std::vector<LayerRule> layers = rules_for(state, plan, rules);
  std::vector<VisionOutput> seen;
  const std::vector<at::Tensor> embeds = embed_inputs(state, inputs, &seen);
  std::vector<std::unique_ptr<Tracing>> all;
  std::vector<DecoderPass> passes;
  size_t steps = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Tracing& one = *all.emplace_back(std::make_unique<Tracing>(text, inputs[i], options[i]));
    if (seen[i].hidden.defined()) {
      one.trace.vision_hidden = floats_of(seen[i].hidden);
      one.trace.vision_features = floats_of(seen[i].features);
    }
    if (one.options.hidden) append(one.trace.hidden, embeds[i]);
    passes.emplace_back(text, embeds[i].unsqueeze(0), Pass{one.samples, one.positions, &one.cache, &one.observer});
    ensure(one.options.decode.empty() || one.options.generate == 0, "tokens are forced or chosen");
    // The last token chosen is not decoded.
    steps = std::max(steps, one.options.decode.size() + size_t(std::max<int64_t>(one.options.generate - 1, 0)));
  }
  run_layers(state, layers, passes);
  for (size_t i = 0; i < all.size(); ++i) {
    const at::Tensor& hidden = passes[i].hidden();
    all[i]->trace.logits = floats_of(run_head(
        text, state.weights.decoder, all[i]->options.all_logits ? hidden : hidden.slice(1, inputs[i].length() - 1)));
    all[i]->decoding = true;
    all[i]->choose(all[i]->trace.logits, state.spec.eos_token_ids);
  }
  for (size_t step = 0; step < steps; ++step) {
    std::vector<Tracing*> live;
    for (const auto& one : all)
      if (one->has_next(step)) live.push_back(one.get());
    if (live.empty()) break;
    passes.clear();
    for (Tracing* one : live) {
      const at::Tensor next = embed_tokens(state, {one->next_token(step)}).unsqueeze(0);
      if (one->options.hidden) append(one->trace.decode_hidden, next);
      const int64_t keys = one->input.length() + int64_t(one->options.decode.size());
      one->step_attention.assign(one->options.attention ? size_t(one->trace.layers * one->trace.heads * keys) : 0, 0.0f);
      one->positions = {{{one->input.next_position() + int64_t(step)}}};
      passes.emplace_back(text, next, Pass{one->samples, one->positions, &one->cache, &one->observer});
    }
    run_layers(state, layers, passes);
    for (size_t i = 0; i < live.size(); ++i) {
      append(live[i]->trace.decode_logits, run_head(text, state.weights.decoder, passes[i].hidden()));
      live[i]->choose(live[i]->trace.decode_logits, state.spec.eos_token_ids);
      std::copy(live[i]->step_attention.begin(), live[i]->step_attention.end(),
                live[i]->trace.decode_attention.begin() + std::ptrdiff_t(step * live[i]->step_attention.size()));
    }
  }
  std::vector<Trace> traces;
  for (const auto& one : all) {
    one->finish_statistics();
    traces.push_back(std::move(one->trace));
  }
  return traces;
}

std::vector<SampleStatistics> TorchEngine::observe(const std::vector<ModelInput>& inputs, bool decode_row) const {
  const c10::InferenceMode inference;
  const State& state = *state_;
  const DecoderSpec& text = state.spec.text;
  const std::vector<LayerRule> layers = rules_for(state, dense_plan(text), nullptr);
  const TraceOptions options{.hidden = false, .statistics = true};
  std::vector<std::unique_ptr<Tracing>> all;
  std::vector<DecoderPass> passes;
  {
    const std::vector<at::Tensor> embeds = embed_inputs(state, inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      Tracing& one = *all.emplace_back(std::make_unique<Tracing>(text, inputs[i], options));
      passes.emplace_back(text, embeds[i].unsqueeze(0),
                          Pass{one.samples, one.positions, decode_row ? &one.cache : nullptr, &one.observer});
    }
  }
  run_layers(state, layers, passes);
  if (decode_row) {
    std::vector<DecoderPass> steps;
    for (size_t i = 0; i < inputs.size(); ++i) {
      Tracing& one = *all[i];
      const at::Tensor& hidden = passes[i].hidden();
      const at::Tensor logits = run_head(text, state.weights.decoder, hidden.slice(1, hidden.size(1) - 1));
      one.positions = {{{inputs[i].next_position()}}};
      steps.emplace_back(text, embed_tokens(state, {best_token(logits[0][0])}).unsqueeze(0),
                         Pass{one.samples, one.positions, &one.cache, &one.observer});
    }
    run_layers(state, layers, steps);
  }
  std::vector<SampleStatistics> statistics;
  for (const auto& one : all) statistics.push_back(one->sums.statistics());
  return statistics;
}

}  // namespace yopo
