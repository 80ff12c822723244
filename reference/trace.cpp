// Samples traced and observed: the forward with somebody looking.
#include <algorithm>
#include <deque>
#include <memory>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "models/kept_rows.h"
#include "reference/observers.h"
#include "reference/state.h"

namespace yopo {

using namespace torch_steps;

namespace {

// Copies a block of attention weights into [L, H, rows, keys] from row `first_row` on; later keys stay 0.
void keep_attention(float* out, const AttentionBlock& seen, int64_t heads, int64_t first_row, int64_t rows,
                    int64_t keys) {
  const std::vector<float> weights = floats_of(seen.weights[0]);
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t r = 0; r < seen.block.rows; ++r) {
      const float* from = weights.data() + (h * seen.block.rows + r) * seen.block.keys;
      float* to = out + ((seen.layer * heads + h) * rows + first_row + r) * keys;
      std::copy(from, from + seen.block.keys, to);
    }
}

void append(std::vector<float>& to, const at::Tensor& tensor) {
  const std::vector<float> values = floats_of(tensor);
  to.insert(to.end(), values.begin(), values.end());
}

// One sample of traces(): what its passes read and its observers write to must not move.
class Tracing {
 public:
  /// `decodes`: rows follow the prompt's.
  Tracing(const DecoderSpec& spec, const ModelInput& given, const TraceOptions& wanted, bool decodes)
      : text(spec),
        input(given),
        options(wanted),
        samples{layout_of(given, spec.num_hidden_layers, 0)},
        sums(spec, samples.front()),
        counted(sums.callbacks()),
        cached(decodes) {
    const int64_t length = input.length(), heads = text.num_attention_heads, steps = int64_t(options.decode.size());
    trace.layers = text.num_hidden_layers;
    trace.length = length;
    trace.hidden_size = text.hidden_size;
    trace.vocab_size = text.vocab_size;
    trace.heads = heads;
    trace.intermediate_size = text.intermediate_size;
    if (!options.attention) return;
    trace.attention.assign(size_t(trace.layers * heads * length * length), 0.0f);
    trace.decode_attention.assign(size_t(steps * trace.layers * heads * (length + steps)), 0.0f);
  }
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;

  /// The pass of the prompt.
  DecoderPass prompt(const Embedded& embedded) {
    return pass(-1, embedded.rows, 0, positions_of(input), embedded.deepstack);
  }
  /// The pass of the token decoded in `step`.
  DecoderPass decoded(int64_t step, const at::Tensor& embeds) {
    return pass(step, embeds, input.length() + step, {{input.next_position() + step}}, {});
  }

  SampleStatistics statistics() const { return sums.statistics(); }
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

  const DecoderSpec& text;
  const ModelInput& input;
  const TraceOptions& options;
  Trace trace;

 private:
  struct Watched {
    std::vector<NewPositions> positions;
    Observer observer;
  };

  DecoderPass pass(int64_t step, const at::Tensor& embeds, int64_t past, NewPositions positions,
                   const at::Tensor& deepstack) {
    Watched& own = watched.emplace_back();
    own.positions.push_back(std::move(positions));
    if (options.hidden && (step < 0 || options.decode_hidden)) {
      keep_hidden(step, 0, embeds);
      own.observer.hidden = [this, step](int64_t layer, const at::Tensor& output) {
        keep_hidden(step, layer + 1, output);
      };
    }
    if (options.statistics) own.observer.activation = counted.activation;
    if (options.statistics || options.attention)
      own.observer.attention = [this, step](const AttentionBlock& seen) {
        if (options.statistics) counted.attention(seen);
        if (options.attention) keep_weights(step, seen);
      };
    return DecoderPass(text, embeds.unsqueeze(0),
                       Pass{samples, own.positions, cached ? &cache : nullptr, &own.observer, past,
                            deepstack.defined() ? deepstack.unsqueeze(1) : deepstack});
  }
  /// The rows that enter layer `layer`, or leave the last.
  void keep_hidden(int64_t step, int64_t layer, const at::Tensor& rows) {
    const std::vector<float> values = floats_of(rows);
    std::vector<float>& to = step < 0 ? trace.hidden : trace.decode_hidden;
    const size_t all = size_t((trace.layers + 1) * (step < 0 ? trace.length : 1) * trace.hidden_size);
    const size_t first = step < 0 ? 0 : size_t(step) * all;
    if (to.size() < first + all) to.resize(first + all);
    std::copy(values.begin(), values.end(), to.begin() + std::ptrdiff_t(first + size_t(layer) * values.size()));
  }
  void keep_weights(int64_t step, const AttentionBlock& seen) {
    if (step < 0)
      return keep_attention(trace.attention.data(), seen, trace.heads, seen.block.first, trace.length, trace.length);
    const int64_t keys = trace.length + int64_t(options.decode.size());
    keep_attention(trace.decode_attention.data() + step * trace.layers * trace.heads * keys, seen, trace.heads, 0, 1,
                   keys);
  }

  std::vector<SampleLayout> samples;
  SampleObserver sums;
  Observer counted;
  bool cached;
  KvCache cache;
  std::deque<Watched> watched;
};

// hidden [1, T, C] without the rows of dropped tokens, which go on here only for want of a gap.
at::Tensor rows_that_stay(const ModelInput& input, const at::Tensor& hidden) {
  if (!input.kept) return hidden;
  const std::vector<uint8_t> stays = kept_tokens(input.spans, input.length(), *input.kept);
  std::vector<int64_t> rows;
  for (size_t token = 0; token < stays.size(); ++token)
    if (stays[token]) rows.push_back(int64_t(token));
  return hidden.index_select(1, at::tensor(at::ArrayRef<int64_t>(rows), at::kLong));
}

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
  for (const TraceOptions& of : options) require(of.generate == 0, "trace: a text of its own comes from the runtime");
  const std::vector<LayerRule> layers = rules_for(state, plan, rules);
  state.walk.begin(text.num_hidden_layers);
  std::vector<VisionOutput> seen;
  const std::vector<Embedded> embeds = embed_inputs(state, inputs, &seen);
  std::vector<std::unique_ptr<Tracing>> all;
  std::vector<DecoderPass> passes;
  std::vector<size_t> prompts;  // a sample's first pass
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<int64_t>& forced = options[i].decode;
    Tracing& one = *all.emplace_back(std::make_unique<Tracing>(text, inputs[i], options[i], !forced.empty()));
    if (seen[i].hidden.defined()) {
      one.trace.vision_hidden = floats_of(seen[i].hidden);
      one.trace.vision_features = floats_of(seen[i].features);
      if (seen[i].attention.defined()) one.trace.vision_attention = floats_of(seen[i].attention);
    }
    prompts.push_back(passes.size());
    passes.push_back(one.prompt(embeds[i]));
    // What is known beforehand goes through the layers right behind the prompt: weights that come and go come once.
    for (size_t step = 0; step < forced.size(); ++step)
      passes.push_back(one.decoded(int64_t(step), embed_tokens(state, {forced[step]})));
  }
  run_layers(state, layers, passes);
  for (size_t i = 0; i < all.size(); ++i) {
    const at::Tensor hidden = rows_that_stay(inputs[i], passes[prompts[i]].hidden());
    all[i]->trace.logits = floats_of(
        run_head(text, state.weights.decoder, options[i].all_logits ? hidden : hidden.slice(1, hidden.size(1) - 1)));
    for (size_t step = 0; step < options[i].decode.size(); ++step)
      append(all[i]->trace.decode_logits,
             run_head(text, state.weights.decoder, passes[prompts[i] + 1 + step].hidden()));
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
  state.walk.begin(text.num_hidden_layers * (decode_row ? 2 : 1));
  std::vector<std::unique_ptr<Tracing>> all;
  std::vector<DecoderPass> passes;
  {
    const std::vector<Embedded> embeds = embed_inputs(state, inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      all.push_back(std::make_unique<Tracing>(text, inputs[i], options, decode_row));
      passes.push_back(all.back()->prompt(embeds[i]));
    }
  }
  run_layers(state, layers, passes);
  if (decode_row) {
    std::vector<DecoderPass> steps;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const at::Tensor& hidden = passes[i].hidden();
      const at::Tensor logits = run_head(text, state.weights.decoder, hidden.slice(1, hidden.size(1) - 1));
      steps.push_back(all[i]->decoded(0, embed_tokens(state, {best_token(logits[0][0])})));
    }
    run_layers(state, layers, steps);
  }
  std::vector<SampleStatistics> statistics;
  statistics.reserve(all.size());
  for (const auto& one : all) statistics.push_back(one->statistics());
  return statistics;
}

}  // namespace yopo
