#include "reference/engine.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "core/memory.h"
#include "reference/state.h"

namespace yopo {

using namespace torch_steps;

DType torch_dtype(const ModelSpec& spec, const std::string& dtype) {
  if (dtype == "auto") return spec.dtype == DType::BF16 ? DType::BF16 : DType::F32;
  const DType asked = dtype_from_name(dtype);
  require(asked == DType::F32 || asked == DType::BF16, "dtype {}: the CPU computes in fp32 or bf16, choose one of them",
          dtype);
  return asked;
}

namespace {

// A batch as the decoder wants it.
struct Batch {
  at::Tensor embeds;                    // [B, T, C]
  at::Tensor deepstack;                 // [n, B, T, C] or undefined
  std::vector<NewPositions> positions;  // [B]
  std::vector<SampleLayout> samples;    // [B]
};

// Pads on the left to the longest sample.
Batch batch_of(const State& state, const std::vector<ModelInput>& inputs) {
  Batch batch;
  int64_t rows = 0;
  for (const ModelInput& input : inputs) rows = std::max(rows, input.length());
  std::vector<at::Tensor> embeds;
  std::vector<at::Tensor> deepstack;
  const std::vector<Embedded> alone = embed_inputs(state, inputs);
  const bool deep =
      std::any_of(alone.begin(), alone.end(), [](const Embedded& own) { return own.deepstack.defined(); });
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ModelInput& input = inputs[i];
    const int64_t padding = rows - input.length();
    const at::Tensor& own = alone[i].rows;
    embeds.push_back(padding == 0 ? own : at::cat({at::zeros({padding, own.size(1)}, own.options()), own}));
    if (deep) {
      at::Tensor all = at::zeros({state.spec.deep_taps(), rows, own.size(1)}, own.options());
      if (alone[i].deepstack.defined()) all.slice(1, padding).copy_(alone[i].deepstack);
      deepstack.push_back(all);
    }
    batch.positions.push_back(positions_of(input));
    batch.samples.push_back(layout_of(input, state.spec.text.num_hidden_layers, padding));
  }
  batch.embeds = at::stack(embeds);
  if (deep) batch.deepstack = at::stack(deepstack, 1);
  return batch;
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
  state_ = std::make_unique<State>(State{model.spec,
                                         dtype,
                                         source,
                                         streaming ? source.ends() : load_weights(model.checkpoint, model.spec, dtype),
                                         memory,
                                         streaming,
                                         {},
                                         Walk(options.passing)});
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
  const int64_t rows =
      std::max(2 * length * text.hidden_size, 2 * patches * (vision.hidden_size + vision.patch_values())) * element;
  const int64_t cache =
      decode ? 2 * length * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * element : 0;
  // What comes and goes within a layer, of one sample or eight pictures.
  const int64_t decoder = length * (8 * text.hidden_size + 3 * text.intermediate_size) * 4;
  const int64_t tower =
      std::min(patches, int64_t(8) * 1025) * (8 * vision.hidden_size + 2 * vision.intermediate_size) * 4;
  const WeightSource::Bytes bytes = state_->source.bytes();
  const int64_t room = state_->memory - bytes.ends - 2 * bytes.largest_layer - std::max(decoder, tower);
  return std::clamp<int64_t>(room / std::max<int64_t>(rows + cache, 1), 1, 256);
}

std::vector<std::vector<float>> TorchEngine::batch_logits(const std::vector<ModelInput>& inputs,
                                                          const Plan& plan) const {
  const c10::InferenceMode inference;
  const DecoderSpec& text = state_->spec.text;
  std::vector<std::vector<float>> logits;
  if (inputs.empty()) return logits;
  const std::vector<LayerRule> layers = rules_for(*state_, plan, nullptr);
  state_->walk.begin(text.num_hidden_layers);
  const Batch batch = batch_of(*state_, inputs);
  std::vector<DecoderPass> pass;
  pass.emplace_back(text, batch.embeds, Pass{batch.samples, batch.positions, nullptr, nullptr, 0, batch.deepstack});
  run_layers(*state_, layers, pass);
  for (size_t b = 0; b < inputs.size(); ++b)
    logits.push_back(floats_of(
        run_head(text, state_->weights.decoder, pass[0].hidden()[int64_t(b)].slice(0, batch.samples[b].padding))));
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
  state_->walk.begin(text.num_hidden_layers * max_new_tokens);
  Batch batch = batch_of(*state_, inputs);
  KvCache cache;
  std::vector<uint8_t> finished(inputs.size(), 0);
  for (int64_t step = 0; step < max_new_tokens; ++step) {
    std::vector<DecoderPass> pass;
    pass.emplace_back(text, batch.embeds,
                      Pass{batch.samples, batch.positions, &cache, nullptr, cache.length(), batch.deepstack});
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
    batch.deepstack = at::Tensor();
    batch.positions.clear();
    for (const ModelInput& input : inputs) batch.positions.push_back({{input.next_position() + step}});
  }
  return tokens;
}

std::vector<double> TorchEngine::down_column_norms() const {
  const int64_t neurons = state_->spec.text.intermediate_size;
  std::vector<double> norms;
  std::vector<float> row(static_cast<size_t>(neurons));
  state_->walk.begin(int64_t(state_->down.size()));
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
    state_->walk.step();
  }
  return norms;
}

}  // namespace yopo
