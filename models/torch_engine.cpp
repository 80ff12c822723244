#include "models/torch_engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "calibration/observers.h"
#include "core/error.h"
#include "core/memory.h"
#include "models/decoder.h"
#include "models/patches.h"
#include "models/vision_tower.h"

namespace yopo {

DType torch_dtype(const ModelSpec& spec, const std::string& dtype) {
  if (dtype == "auto") return spec.dtype == DType::BF16 ? DType::BF16 : DType::F32;
  const DType asked = dtype_from_name(dtype);
  require(asked == DType::F32 || asked == DType::BF16, "dtype {}: the CPU computes in fp32 or bf16, choose one of them",
          dtype);
  return asked;
}

struct TorchEngine::State {
  ModelSpec spec;
  at::ScalarType dtype;
  WeightSource source;
  TorchWeights weights;  // without layers where they are streamed
  int64_t memory = 0;
  bool streaming = false;
  std::vector<TensorView> down;  // [L] as stored: [C, F]
};

namespace {

using State = TorchEngine::State;

// Calls `use` with a decoder layer's weights, held or brought in for this.
template <typename Use>
void with_layer(const State& state, int64_t layer, const Use& use) {
  if (!state.streaming) return use(state.weights.decoder.layers[size_t(layer)]);
  use(state.source.decoder_layer(layer));
  state.source.drop_decoder_layer(layer);
}

VisionLayers vision_layers(const State& state) {
  return [&state](int64_t layer, const std::function<void(const VisionLayerWeights&)>& use) {
    if (!state.streaming) return use(state.weights.vision.layers[size_t(layer)]);
    use(state.source.vision_layer(layer));
    state.source.drop_vision_layer(layer);
  };
}

// All passes through all layers.
void run_layers(const State& state, const std::vector<LayerRule>& rules, std::vector<DecoderPass>& passes) {
  for (int64_t l = 0; l < state.spec.text.num_hidden_layers; ++l)
    with_layer(state, l, [&](const LayerWeights& weights) {
      for (DecoderPass& pass : passes) pass.layer(l, weights, rules[size_t(l)]);
    });
}

// A batch as the decoder wants it.
struct Batch {
  at::Tensor embeds;                  // [B, T, C]
  std::vector<NewPositions> positions;  // [B]
  std::vector<SampleLayout> samples;  // [B]
};

std::vector<float> floats_of(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kFloat).contiguous();
  const float* data = values.data_ptr<float>();
  return std::vector<float>(data, data + values.numel());
}

at::Tensor tensor_of(const std::vector<float>& values, at::IntArrayRef shape, at::ScalarType dtype) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  ensure(tensor.numel() == int64_t(values.size()), "as many values as the shape has");
  std::memcpy(tensor.data_ptr<float>(), values.data(), values.size() * sizeof(float));
  return tensor.to(dtype);
}

// The embedding rows of plain tokens: [n, C].
at::Tensor embed_tokens(const State& state, const std::vector<int64_t>& tokens) {
  const int64_t vocab = state.weights.decoder.embed.size(0);
  for (const int64_t token : tokens)
    require(token >= 0 && token < vocab, "token {} is outside the model's vocabulary of {}", token, vocab);
  const at::Tensor index = at::tensor(at::ArrayRef<int64_t>(tokens), at::kLong);
  return state.weights.decoder.embed.index_select(0, index).to(state.dtype);
}

// The patches of an input's pictures: [patches, values]. UserError unless they are those of its spans.
at::Tensor patches_of(const State& state, const ModelInput& input) {
  const VisionSpec& vision = state.spec.vision;
  const std::vector<PatchGrid> grids = patch_grids(vision, input);
  int64_t patches = 0;
  for (const PatchGrid& grid : grids) patches += grid[0] * grid[1];
  const int64_t values = vision.patch_values();
  require(input.images > 0 || grids.empty(), "the prompt has image placeholders but there are no pixels");
  require(input.images == int64_t(grids.size()) && int64_t(input.pixel_values.size()) == patches * values,
          "the prompt has room for {} pictures of {} patches; the pixels are of {} pictures, {} values", grids.size(), patches,
          input.images, input.pixel_values.size());
  return tensor_of(patch_rows(vision, input, 0, input.images), {patches, values}, state.dtype);
}

// Embeddings of samples with the image features in place, [T, C] each. All pictures go through the tower together. Fills
// `seen`, one a sample, for those with pixels.
std::vector<at::Tensor> embed_inputs(const State& state, const std::vector<ModelInput>& inputs,
                                     std::vector<VisionOutput>* seen = nullptr) {
  const int64_t width = state.spec.text.hidden_size;
  std::vector<at::Tensor> embeds, pixels;
  std::vector<PatchGrid> grids;
  for (const ModelInput& input : inputs) {
    const int64_t length = input.length();
    require(length > 0, "an empty prompt: there is no token to compute");
    check_spans(input.spans, length, "input");
    if (!input.embeds.empty()) {
      embeds.push_back(tensor_of(input.embeds, {length, width}, state.dtype));
      continue;
    }
    ensure(int64_t(input.input_ids.size()) == length, "one position a token");
    std::vector<int64_t> ids = input.input_ids;
    for (const Span& span : input.spans)  // placeholders need not be in the vocabulary
      std::fill_n(ids.begin() + span.start, span.count(), 0);
    embeds.push_back(embed_tokens(state, ids));
    pixels.push_back(patches_of(state, input));
    const std::vector<PatchGrid> own = patch_grids(state.spec.vision, input);
    grids.insert(grids.end(), own.begin(), own.end());
  }
  if (seen) seen->resize(inputs.size());
  if (grids.empty()) return embeds;
  const VisionOutput all = run_vision(state.spec, state.weights, vision_layers(state), grids, at::cat(pixels));
  int64_t token = 0, patch = 0;
  const int64_t merged = state.spec.vision.merge_size * state.spec.vision.merge_size;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].embeds.empty() || inputs[i].spans.empty()) continue;
    const int64_t tokens = inputs[i].visual_tokens();
    const at::Tensor features = all.features.slice(0, token, token + tokens);
    int64_t from = 0;
    for (const Span& span : inputs[i].spans) {
      embeds[i].slice(0, span.start, span.start + span.count()).copy_(features.slice(0, from, from + span.count()));
      from += span.count();
    }
    if (seen) (*seen)[i] = {all.hidden.slice(0, patch, patch + tokens * merged), features};
    token += tokens;
    patch += tokens * merged;
  }
  return embeds;
}

NewPositions positions_of(const ModelInput& input) { return {input.position_ids, input.position_axes}; }

// Pads on the left to the longest sample.
Batch batch_of(const State& state, const std::vector<ModelInput>& inputs) {
  Batch batch;
  int64_t rows = 0;
  for (const ModelInput& input : inputs) rows = std::max(rows, input.length());
  std::vector<at::Tensor> embeds;
  const std::vector<at::Tensor> alone = embed_inputs(state, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ModelInput& input = inputs[i];
    const int64_t padding = rows - input.length();
    const at::Tensor& own = alone[i];
    embeds.push_back(padding == 0 ? own : at::cat({at::zeros({padding, own.size(1)}, own.options()), own}));
    batch.positions.push_back(positions_of(input));
    batch.samples.push_back(layout_of(input.spans, padding));
  }
  batch.embeds = at::stack(embeds);
  return batch;
}

std::vector<LayerRule> rules_for(const State& state, const Plan& plan, const MaskRules* rules) {
  check_plan(plan, state.spec.text, "plan");
  return layer_rules(state.spec.text, plan, rules ? *rules : rules_of(plan.semantics), state.dtype);
}

// Index of the largest logit, the lowest among equals; UserError for NaN. `logits` [V].
int64_t best_token(const at::Tensor& logits) {
  const std::vector<float> values = floats_of(logits);
  for (const float value : values)
    require(!std::isnan(value), "the model's logits are NaN: its weights or the input are damaged");
  return std::max_element(values.begin(), values.end()) - values.begin();
}

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

}  // namespace

TorchEngine::TorchEngine(const OpenModel& model, const TorchOptions& options) {
  require(options.threads >= 0, "threads must be 0 (all) or more, not {}", options.threads);
  require(options.memory >= 0, "memory: {} bytes are negative", options.memory);
  if (options.threads > 0) at::set_num_threads(options.threads);
  const at::ScalarType dtype = torch_dtype(model.spec, options.dtype) == DType::BF16 ? at::kBFloat16 : at::kFloat;
  const WeightSource source(model.checkpoint, model.spec, dtype);
  const WeightSource::Bytes bytes = source.bytes();
  // A quarter is left for activations and caches.
  const int64_t memory = memory_limit(options.memory, bytes.all);
  const bool streaming = memory > 0 && bytes.all > memory / 4 * 3;
  state_ = std::make_unique<State>(State{model.spec, dtype, source,
                                         streaming ? source.ends() : load_weights(model.checkpoint, model.spec, dtype),
                                         memory, streaming, {}});
  require(!streaming || bytes.ends + 2 * bytes.largest_layer < memory,
          "memory: {:.2f} GB are too little: a layer and what is held beside it take {:.2f} GB", double(memory) / 1e9,
          double(bytes.ends + 2 * bytes.largest_layer) / 1e9);
  const std::vector<TensorSlot> table = tensor_table(model.spec);
  for (int64_t l = 0; l < model.spec.text.num_hidden_layers; ++l)
    state_->down.push_back(model.checkpoint.at(find_slot(table, Role::Down, l).name));
}
TorchEngine::~TorchEngine() = default;
TorchEngine::TorchEngine(TorchEngine&&) noexcept = default;

const ModelSpec& TorchEngine::spec() const { return state_->spec; }
bool TorchEngine::streaming() const { return state_->streaming; }

int64_t TorchEngine::samples_at_once(const ModelInput& input, bool decode) const {
  if (!state_->streaming) return 1;
  const DecoderSpec& text = state_->spec.text;
  const VisionSpec& vision = state_->spec.vision;
  const int64_t element = int64_t(at::elementSize(state_->dtype)), length = input.length();
  const int64_t patches = input.visual_tokens() * vision.merge_size * vision.merge_size;
  // What stays of a sample between layers: its rows, or before that its patches' rows; with decoding, keys and values.
  const int64_t rows = std::max(2 * length * text.hidden_size,
                                2 * patches * (vision.hidden_size + vision.patch_values())) * element;
  const int64_t cache =
      decode ? 2 * length * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * element : 0;
  // What comes and goes within a layer, of one sample or eight pictures.
  const int64_t decoder = length * (8 * text.hidden_size + 3 * text.intermediate_size) * 4;
  const int64_t tower = std::min<int64_t>(patches, 8 * 1025) * (8 * vision.hidden_size + 2 * vision.intermediate_size) * 4;
  const WeightSource::Bytes bytes = state_->source.bytes();
  const int64_t room = state_->memory - bytes.ends - 2 * bytes.largest_layer - std::max(decoder, tower);
  return std::clamp<int64_t>(room / std::max<int64_t>(rows + cache, 1), 1, 256);
}

namespace {

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

std::vector<std::vector<float>> TorchEngine::batch_logits(const std::vector<ModelInput>& inputs,
                                                          const Plan& plan) const {
  const c10::InferenceMode inference;
  const DecoderSpec& text = state_->spec.text;
  std::vector<std::vector<float>> logits;
  if (inputs.empty()) return logits;
  const std::vector<LayerRule> layers = rules_for(*state_, plan, nullptr);
  const Batch batch = batch_of(*state_, inputs);
  std::vector<DecoderPass> pass;
  pass.emplace_back(text, batch.embeds, Pass{batch.samples, batch.positions});
  run_layers(*state_, layers, pass);
  for (size_t b = 0; b < inputs.size(); ++b)
    logits.push_back(
        floats_of(run_head(text, state_->weights.decoder, pass[0].hidden()[int64_t(b)].slice(0, batch.samples[b].padding))));
  return logits;
}

std::vector<std::vector<int64_t>> TorchEngine::generate(const std::vector<ModelInput>& inputs, const Plan& plan,
                                                        int64_t max_new_tokens) const {
  const c10::InferenceMode inference;
  const DecoderSpec& text = state_->spec.text;
  std::vector<std::vector<int64_t>> tokens(inputs.size());
  if (inputs.empty() || max_new_tokens <= 0) return tokens;
  const std::vector<LayerRule> layers = rules_for(*state_, plan, nullptr);
  const std::vector<int64_t>& ends = state_->spec.eos_token_ids;
  Batch batch = batch_of(*state_, inputs);
  KvCache cache;
  std::vector<uint8_t> finished(inputs.size(), 0);
  for (int64_t step = 0; step < max_new_tokens; ++step) {
    std::vector<DecoderPass> pass;
    pass.emplace_back(text, batch.embeds, Pass{batch.samples, batch.positions, &cache});
    run_layers(*state_, layers, pass);
    const at::Tensor& hidden = pass[0].hidden();
    const at::Tensor logits =
        run_head(text, state_->weights.decoder, hidden.slice(1, hidden.size(1) - 1));  // [B, 1, V]
    std::vector<int64_t> next(inputs.size(), 0);
    for (size_t b = 0; b < inputs.size(); ++b) {
      if (finished[b]) continue;  // goes on with token 0 beside the others, unread
      next[b] = best_token(logits[int64_t(b)][0]);
      finished[b] = std::find(ends.begin(), ends.end(), next[b]) != ends.end();
      if (!finished[b]) tokens[b].push_back(next[b]);
    }
    if (std::all_of(finished.begin(), finished.end(), [](uint8_t flag) { return flag != 0; })) break;
    batch.embeds = embed_tokens(*state_, next).unsqueeze(1);
    batch.positions.clear();
    for (const ModelInput& input : inputs) batch.positions.push_back({{input.next_position() + step}});
  }
  return tokens;
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

std::vector<double> TorchEngine::down_column_norms() const {
  const int64_t neurons = state_->spec.text.intermediate_size;
  std::vector<double> norms;
  std::vector<float> row(static_cast<size_t>(neurons));
  for (size_t layer = 0; layer < state_->down.size(); ++layer) {
    const TensorView& down = state_->down[layer];
    std::vector<double> squares(size_t(neurons), 0.0);
    const size_t stride = size_t(neurons) * size_of(down.dtype);
    for (int64_t r = 0; r < down.shape[0]; ++r) {
      to_float(down.bytes.data() + size_t(r) * stride, down.dtype, size_t(neurons), row.data());
      for (int64_t f = 0; f < neurons; ++f) squares[size_t(f)] += double(row[size_t(f)]) * double(row[size_t(f)]);
    }
    for (const double square : squares) norms.push_back(std::sqrt(square));
    if (state_->streaming) state_->source.drop_decoder_layer(int64_t(layer));
  }
  return norms;
}

}  // namespace yopo
