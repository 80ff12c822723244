#include "models/torch_engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "calibration/observers.h"
#include "core/error.h"
#include "models/decoder.h"
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
  TorchWeights weights;
  std::vector<TensorView> down;  // [L] as stored: [C, F]
};

namespace {

using State = TorchEngine::State;

// A batch as the decoder wants it.
struct Batch {
  at::Tensor embeds;                  // [B, T, C]
  std::vector<int64_t> positions;     // [B * T]
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
  return state.weights.decoder.embed.index_select(0, index);
}

// Embeddings of one sample with the image features in place: [T, C]. Fills `vision` if there are pixels.
at::Tensor embed_input(const State& state, const ModelInput& input, VisionOutput* vision = nullptr) {
  const ModelSpec& spec = state.spec;
  const int64_t length = input.length(), width = spec.text.hidden_size;
  require(length > 0, "an empty prompt: there is no token to compute");
  check_spans(input.spans, length, "input");
  if (!input.embeds.empty()) return tensor_of(input.embeds, {length, width}, state.dtype);

  ensure(int64_t(input.input_ids.size()) == length, "one position a token");
  std::vector<int64_t> ids = input.input_ids;
  for (const Span& span : input.spans)  // placeholders need not be in the vocabulary
    std::fill_n(ids.begin() + span.start, span.count(), 0);
  at::Tensor embeds = embed_tokens(state, ids);
  if (input.images == 0) {
    require(input.spans.empty(), "the prompt has image placeholders but there are no pixels");
    return embeds;
  }
  const int64_t side = spec.vision.image_size;
  VisionOutput seen =
      run_vision(spec, state.weights, tensor_of(input.pixel_values, {input.images, 3, side, side}, state.dtype));
  require(seen.features.size(0) == input.visual_tokens(),
          "the images give {} visual tokens, the prompt has room for {}", seen.features.size(0), input.visual_tokens());
  int64_t from = 0;
  for (const Span& span : input.spans) {
    embeds.slice(0, span.start, span.start + span.count()).copy_(seen.features.slice(0, from, from + span.count()));
    from += span.count();
  }
  if (vision) *vision = std::move(seen);
  return embeds;
}

// Pads on the left to the longest sample.
Batch batch_of(const State& state, const std::vector<ModelInput>& inputs) {
  Batch batch;
  int64_t rows = 0;
  for (const ModelInput& input : inputs) rows = std::max(rows, input.length());
  std::vector<at::Tensor> embeds;
  for (const ModelInput& input : inputs) {
    const int64_t padding = rows - input.length();
    const at::Tensor own = embed_input(state, input);
    embeds.push_back(padding == 0 ? own : at::cat({at::zeros({padding, own.size(1)}, own.options()), own}));
    batch.positions.insert(batch.positions.end(), size_t(padding), 0);
    batch.positions.insert(batch.positions.end(), input.position_ids.begin(), input.position_ids.end());
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
  if (options.threads > 0) at::set_num_threads(options.threads);
  const at::ScalarType dtype = torch_dtype(model.spec, options.dtype) == DType::BF16 ? at::kBFloat16 : at::kFloat;
  state_ = std::make_unique<State>(State{model.spec, dtype, load_weights(model.checkpoint, model.spec, dtype), {}});
  const std::vector<TensorSlot> table = tensor_table(model.spec);
  for (int64_t l = 0; l < model.spec.text.num_hidden_layers; ++l)
    state_->down.push_back(model.checkpoint.at(find_slot(table, Role::Down, l).name));
}
TorchEngine::~TorchEngine() = default;
TorchEngine::TorchEngine(TorchEngine&&) noexcept = default;

const ModelSpec& TorchEngine::spec() const { return state_->spec; }

Trace TorchEngine::trace(const ModelInput& input, const Plan& plan, const TraceOptions& options,
                         const MaskRules* rules) const {
  const c10::InferenceMode inference;
  const State& state = *state_;
  const DecoderSpec& text = state.spec.text;
  const std::vector<LayerRule> layers = rules_for(state, plan, rules);
  const int64_t length = input.length(), heads = text.num_attention_heads, steps = int64_t(options.decode.size());

  Trace trace{.layers = text.num_hidden_layers,
              .length = length,
              .hidden_size = text.hidden_size,
              .vocab_size = text.vocab_size,
              .heads = heads,
              .intermediate_size = text.intermediate_size};
  VisionOutput vision;
  const at::Tensor embeds = embed_input(state, input, &vision).unsqueeze(0);
  if (vision.hidden.defined()) {
    trace.vision_hidden = floats_of(vision.hidden);
    trace.vision_features = floats_of(vision.features);
  }
  const std::vector<SampleLayout> samples{layout_of(input.spans, 0)};
  SampleObserver sums(text, samples.front());
  const Observer counted = sums.callbacks();
  std::vector<float> step_attention;
  Observer observer;
  std::vector<float>* hidden_rows = &trace.hidden;
  if (options.hidden) observer.hidden = [&](int64_t, const at::Tensor& output) { append(*hidden_rows, output); };
  if (options.statistics) observer.activation = counted.activation;
  if (options.attention) {
    trace.attention.assign(size_t(trace.layers * heads * length * length), 0.0f);
    trace.decode_attention.assign(size_t(steps * trace.layers * heads * (length + steps)), 0.0f);
  }
  if (options.statistics || options.attention)
    observer.attention = [&](const AttentionBlock& seen) {
      if (options.statistics) counted.attention(seen);
      if (!options.attention) return;
      if (seen.block.past == 0) return keep_attention(trace.attention, seen, heads, seen.block.first, length, length);
      keep_attention(step_attention, seen, heads, 0, 1, length + steps);
    };

  KvCache cache;
  if (options.hidden) append(trace.hidden, embeds);
  at::Tensor hidden =
      run_decoder(text, state.weights.decoder, layers, embeds, {samples, input.position_ids, &cache, &observer});
  if (!options.all_logits) hidden = hidden.slice(1, length - 1);
  trace.logits = floats_of(run_head(text, state.weights.decoder, hidden));
  hidden_rows = &trace.decode_hidden;
  for (int64_t i = 0; i < steps; ++i) {
    const at::Tensor next = embed_tokens(state, {options.decode[size_t(i)]}).unsqueeze(0);
    if (options.hidden) append(trace.decode_hidden, next);
    step_attention.assign(options.attention ? size_t(trace.layers * heads * (length + steps)) : 0, 0.0f);
    const std::vector<int64_t> position{input.next_position() + i};
    append(trace.decode_logits,
           run_head(text, state.weights.decoder,
                    run_decoder(text, state.weights.decoder, layers, next, {samples, position, &cache, &observer})));
    std::copy(step_attention.begin(), step_attention.end(),
              trace.decode_attention.begin() + i * int64_t(step_attention.size()));
  }
  if (options.statistics) {
    SampleStatistics seen = sums.statistics();
    trace.ratio_prefill = std::move(seen.ratio_prefill);
    trace.ratio_text = std::move(seen.ratio_text);
    trace.ratio_decode = std::move(seen.ratio_decode);
    trace.ffn_abs_mean = std::move(seen.abs_sum);
    const double rows = double(std::max<int64_t>(1, samples.front().visual));
    for (double& value : trace.ffn_abs_mean) value /= rows;
  }
  return trace;
}

std::vector<std::vector<float>> TorchEngine::batch_logits(const std::vector<ModelInput>& inputs,
                                                          const Plan& plan) const {
  const c10::InferenceMode inference;
  const DecoderSpec& text = state_->spec.text;
  std::vector<std::vector<float>> logits;
  if (inputs.empty()) return logits;
  const std::vector<LayerRule> layers = rules_for(*state_, plan, nullptr);
  const Batch batch = batch_of(*state_, inputs);
  const at::Tensor hidden =
      run_decoder(text, state_->weights.decoder, layers, batch.embeds, {batch.samples, batch.positions});
  for (size_t b = 0; b < inputs.size(); ++b)
    logits.push_back(
        floats_of(run_head(text, state_->weights.decoder, hidden[int64_t(b)].slice(0, batch.samples[b].padding))));
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
    const at::Tensor hidden =
        run_decoder(text, state_->weights.decoder, layers, batch.embeds, {batch.samples, batch.positions, &cache});
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
    for (const ModelInput& input : inputs) batch.positions.push_back(input.next_position() + step);
  }
  return tokens;
}

SampleStatistics TorchEngine::observe(const ModelInput& input, bool decode_row) const {
  const c10::InferenceMode inference;
  const DecoderSpec& text = state_->spec.text;
  const std::vector<LayerRule> layers = rules_for(*state_, dense_plan(text), nullptr);
  const at::Tensor embeds = embed_input(*state_, input).unsqueeze(0);
  const std::vector<SampleLayout> samples{layout_of(input.spans, 0)};
  SampleObserver sums(text, samples.front());
  const Observer observer = sums.callbacks();
  KvCache cache;
  const at::Tensor hidden = run_decoder(text, state_->weights.decoder, layers, embeds,
                                        {samples, input.position_ids, decode_row ? &cache : nullptr, &observer});
  if (decode_row) {
    const at::Tensor logits = run_head(text, state_->weights.decoder, hidden.slice(1, hidden.size(1) - 1));
    const at::Tensor next = embed_tokens(*state_, {best_token(logits[0][0])}).unsqueeze(0);
    const std::vector<int64_t> position{input.next_position()};
    run_decoder(text, state_->weights.decoder, layers, next, {samples, position, &cache, &observer});
  }
  return sums.statistics();
}

std::vector<double> TorchEngine::down_column_norms() const {
  const int64_t neurons = state_->spec.text.intermediate_size;
  std::vector<double> norms;
  std::vector<float> row(static_cast<size_t>(neurons));
  for (const TensorView& down : state_->down) {
    std::vector<double> squares(size_t(neurons), 0.0);
    const size_t stride = size_t(neurons) * size_of(down.dtype);
    for (int64_t r = 0; r < down.shape[0]; ++r) {
      to_float(down.bytes.data() + size_t(r) * stride, down.dtype, size_t(neurons), row.data());
      for (int64_t f = 0; f < neurons; ++f) squares[size_t(f)] += double(row[size_t(f)]) * double(row[size_t(f)]);
    }
    for (const double square : squares) norms.push_back(std::sqrt(square));
  }
  return norms;
}

}  // namespace yopo
