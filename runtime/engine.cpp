#include "runtime/engine.h"
#include "models/anyres.h"

#include <omp.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/memory.h"
#include "runtime/cpu/gemm.h"
#include "runtime/decode_step.h"
#include "runtime/device.h"
#include "runtime/prefill.h"
#include "runtime/random_model.h"
#include "runtime/read_attention.h"

namespace yopo::runtime {
namespace {

/// bf16 and fp16 checkpoints run as they are stored where the device is fast at it.
DType choose_type(const Options& options, DType stored, const Ops& ops) {
  if (options.dtype == "auto") {
    const bool fast = ops.host_memory ? stored == DType::BF16 && cpu::bf16_is_fast()
                                      : stored != DType::F32 && ops.supports(stored, nullptr);
    return fast ? stored : DType::F32;
  }
  const DType type = dtype_from_name(options.dtype);
  std::string why;
  require(ops.supports(type, &why), "dtype '{}' on {}: {}", options.dtype, ops.name, why);
  return type;
}

/// Everything but the weights.
void set_up(EngineState& state, const ModelSpec& spec, const Plan& plan, const Options& options) {
  require(plan.semantics == Semantics::Skip,
          "plan: semantics '{}' cannot be skipped, only simulated; the runtime runs 'skip' (use the torch engine)",
          name_of(plan.semantics));
  check_plan(plan, spec.text, "plan");
  require(options.threads >= 0 && options.threads <= 4096, "threads: expected 0 to 4096, found {}", options.threads);
  state.spec = spec;
  state.plan = plan;
  state.ops = &device_ops(options);
  state.threads = options.threads;
  state.share_prefixes = options.share_prefixes;
  state.walk = Walk(options.passing);
  const int64_t dim = spec.text.head_dim;
  require(state.ops->host_memory || (dim % 8 == 0 && dim <= 256),
          "head_dim {}: the GPU's attention needs a multiple of 8 up to 256; use --device cpu", dim);
  require(options.memory >= 0, "memory: {} bytes are negative", options.memory);
  state.memory_budget = options.memory;
}

/// Without a limit every layer is loaded now, so that what is wrong with it is known now.
void set_weights(EngineState& state, const Arrangement& arrangement) {
  state.weights = state.load(arrangement);
  const Weights& all = *state.weights;
  const int64_t layers =
      all.layers->count() * all.layers->layer_bytes() + all.vision_layers->count() * all.vision_layers->layer_bytes();
  bool whole = state.memory_budget == 0;
  if (state.ops->host_memory) {
    state.memory_budget = memory_limit(state.memory_budget, all.fixed_bytes + layers);
    whole = state.memory_budget == 0;
  } else if (whole && state.ops->free_bytes) {
    // Of a GPU nine tenths of what is free: layers pass through where weights, or what a batch needs beside them, are
    // more. What all of it holds is loaded as without a limit. The fixed weights are there already.
    const auto free = int64_t(state.ops->free_bytes());
    state.memory_budget = std::max<int64_t>(all.fixed_bytes + free / 10 * 9, 1);
    state.default_budget = true;
    whole = layers <= free / 10 * 9;
  }
  // Within a budget layers may have to go again, and what passes through is not worth packing.
  if (whole) {
    const bool merged = state.weights->merged = all.can_merge;
    state.weights->layers->load_all(merged), state.weights->vision_layers->load_all(merged);
  } else
    make_room(state, 0, "no request's");
}

std::function<std::shared_ptr<Weights>(const Arrangement&)> loader(const EngineState& state, const OpenModel& model,
                                                                   const Options& options) {
  return [model, orders = state.orders, type = choose_type(options, model.spec.dtype, *state.ops), ops = state.ops](
             const Arrangement& arrangement) { return load_weights(model, orders, type, *ops, arrangement); };
}

Buffer on_device(const EngineState& state, const std::vector<float>& values, DType type) {
  std::vector<std::byte> converted(values.size() * size_of(type));
  from_float(values.data(), values.size(), type, converted.data());
  Buffer buffer(*state.ops, converted.size());
  if (!converted.empty()) state.ops->upload(buffer.data(), converted.data(), converted.size());
  return buffer;
}

LayerCompensation compensation_of(const EngineState& state, const LayerPlan& layer) {
  LayerCompensation device;
  if (!layer.compensation) return device;
  device.rank = layer.compensation->rank;
  device.down = on_device(state, layer.compensation->down, state.type());
  device.up = on_device(state, layer.compensation->up, state.type());
  device.bias = on_device(state, layer.compensation->bias, DType::F32);
  return device;
}

/// The layers as the weights' order shows them.
std::vector<LayerSlices> slices(const EngineState& state, bool holes) {
  return slices_of(reorder_plan(state.plan, state.spec.text, state.orders), state.spec.text, holes);
}

/// Weights are split for the state's own plan, and serve the dense one, too. Within a budget they stay as they are: it
/// holds while weights are loaded, too, and its size changes no number.
Arrangement arrangement_for(const EngineState& state, const Options& options) {
  if (!options.pack || options.memory > 0) return {};
  return {true, splits_of(state.layers, state.spec.text)};
}

/// Where heads stand in the rows of layers whose weights are merged; nothing of layers that are not.
std::vector<HeadColumns> head_columns(const EngineState& state) {
  std::vector<HeadColumns> all(state.layers.size());
  if (!state.weights->merged) return all;
  const DecoderSpec& spec = state.spec.text;
  const std::vector<LayerSplit> wanted = splits_of(state.layers, spec);
  for (size_t layer = 0; layer < all.size(); ++layer) {
    HeadColumns& columns = all[layer];
    const LayerSplit& split = state.weights->splits[layer];
    columns.at = columns_of(split, spec);
    columns.reaches = reaches_of(split, wanted[layer], spec).value();
    const auto uploaded = [&](const std::vector<int32_t>& values) {
      Buffer buffer(*state.ops, values.size() * sizeof(int32_t));
      state.ops->upload(buffer.data(), values.data(), buffer.bytes());
      return buffer;
    };
    columns.q = uploaded(columns.at.q), columns.out = uploaded(columns.at.out);
    columns.neurons = split.neurons;
  }
  return all;
}

/// What the device must know of the layers: head flags, columns and compensation.
void put_on_device(EngineState& state) {
  state.columns = head_columns(state);
  for (const LayerSlices& layer : state.layers) {
    const HeadFlags &heads = layer.plan.heads, &updates = layer.plan.updates;
    Buffer kept(*state.ops, heads.size()), updated(*state.ops, updates.size());
    state.ops->upload(kept.data(), heads.data(), heads.size());
    state.ops->upload(updated.data(), updates.data(), updates.size());
    state.head_flags.emplace_back(std::move(kept), std::move(updated));
    state.compensation.push_back(compensation_of(state, layer.plan));
  }
}

}  // namespace

Session::Session(std::shared_ptr<const EngineState> state) : engine(std::move(state)) {}
Session::~Session() = default;

ThreadCount::ThreadCount(int threads) {
  if (threads <= 0) return;
  before_ = omp_get_max_threads();
  omp_set_num_threads(threads);
}
ThreadCount::~ThreadCount() {
  if (before_ > 0) omp_set_num_threads(before_);
}

DType computing_type(const Options& options, DType stored) { return choose_type(options, stored, device_ops(options)); }

Engine::Engine(const OpenModel& model, const Plan& plan, const Options& options) : state_(std::make_shared<State>()) {
  const ThreadCount threads(options.threads);
  set_up(*state_, model.spec, plan, options);
  state_->orders = prefix_orders(plan, model);
  state_->load = loader(*state_, model, options);
  state_->layers = slices(*state_, false);
  set_weights(*state_, arrangement_for(*state_, options));
  put_on_device(*state_);
}

Engine::Engine(const ModelSpec& spec, const Plan& plan, const Options& options, uint64_t seed, bool vision)
    : state_(std::make_shared<State>()) {
  const ThreadCount threads(options.threads);
  set_up(*state_, spec, plan, options);
  state_->orders = prefix_orders(plan, spec.text);
  state_->load = [spec, seed, vision, orders = state_->orders, type = choose_type(options, spec.dtype, *state_->ops),
                  ops = state_->ops](const Arrangement& arrangement) {
    return random_model(spec, orders, type, seed, *ops, arrangement, vision);
  };
  state_->layers = slices(*state_, false);
  set_weights(*state_, arrangement_for(*state_, options));
  put_on_device(*state_);
}

Engine::Engine(std::shared_ptr<State> state) : state_(std::move(state)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

Engine::Engine(const OpenModel& model, const Plan& plan, const std::vector<LayerOrder>& orders, const Options& options)
    : state_(std::make_shared<State>()) {
  const ThreadCount threads(options.threads);
  set_up(*state_, model.spec, plan, options);
  state_->orders = orders;
  state_->load = loader(*state_, model, options);
  state_->layers = slices(*state_, false);
  set_weights(*state_, {});  // every plan's products end elsewhere
  put_on_device(*state_);
}

Engine Engine::dense() const { return under(dense_plan(state_->spec.text)); }

Engine Engine::under(const Plan& plan, bool holes) const {
  check_plan(plan, state_->spec.text, "plan");
  auto twin = std::make_shared<State>();
  twin->spec = state_->spec;
  twin->plan = plan;
  twin->orders = state_->orders;
  twin->weights = state_->weights;
  twin->load = state_->load;
  twin->ops = state_->ops;
  twin->threads = state_->threads;
  twin->share_prefixes = state_->share_prefixes;
  twin->walk = state_->walk;
  twin->memory_budget = state_->memory_budget;
  twin->default_budget = state_->default_budget;
  twin->layers = slices(*twin, holes);
  if (twin->weights->merged &&
      !serves(twin->weights->splits, splits_of(twin->layers, twin->spec.text), twin->spec.text)) {
    if (state_->default_budget) twin->memory_budget = 0;  // of what is free now
    set_weights(*twin, {});
  }
  put_on_device(*twin);
  return Engine(std::move(twin));
}

const ModelSpec& Engine::spec() const { return state_->spec; }
const Plan& Engine::plan() const { return state_->plan; }
DType Engine::dtype() const { return state_->type(); }
Counters& Engine::counters() const { return state_->counters; }
int64_t Engine::layers_held() const { return state_->weights->layers->held(); }
int64_t Engine::vision_layers_held() const { return state_->weights->vision_layers->held(); }
int64_t Engine::weight_bytes_owned() const { return state_->weights->owned_bytes(); }
int64_t Engine::take_peak_bytes() const {
  const int64_t peak = state_->memory.peak;
  state_->memory.peak = state_->memory.bytes;
  return peak;
}

std::unique_ptr<Session, void (*)(Session*)> Engine::prefill(const std::vector<ModelInput>& inputs, int64_t capacity,
                                                             Trace* trace) const {
  const ThreadCount threads(state_->threads);
  std::unique_ptr<Session, void (*)(Session*)> session(new Session(state_), [](Session* owned) { delete owned; });
  state_->walk.begin(state_->spec.text.num_hidden_layers * (1 + std::max<int64_t>(capacity, 0)));
  run_prefill(*state_, *session, inputs, capacity, trace ? std::span(trace, 1) : std::span<Trace>(), {});
  return session;
}

const std::vector<float>& Engine::logits(const Session& session) const { return session.logits; }

void Engine::decode(Session& session, const std::vector<int64_t>& requests, const std::vector<int64_t>& tokens) const {
  ensure(session.engine == state_, "decode: a session of this engine");
  ensure(requests.size() == tokens.size(), "decode: one token a request");
  if (requests.empty()) return;
  const ThreadCount threads(state_->threads);
  const Stopwatch watch(state_->counters.decode_seconds);
  if (!session.step || session.step->requests() != requests) {
    session.step.reset();  // its memory first
    session.step = std::make_unique<DecodeStep>(*state_, session, requests);
  }
  try {
    session.step->run(session, tokens);
  } catch (...) {
    session.step.reset();  // it has counted what was not finished
    throw;
  }
  state_->counters.decode_tokens += int64_t(requests.size());
  count_kv(*state_, session);
}

void Engine::release(Session& session, int64_t request) const {
  ensure(session.engine == state_, "release: a session of this engine");
  ensure(request >= 0 && request < int64_t(session.requests.size()), "release: a request of the session");
  session.step.reset();  // it may know this request
  session.requests[size_t(request)].live = false;
  session.requests[size_t(request)].cache = KvCache();
  count_kv(*state_, session);
}

std::vector<std::vector<float>> Engine::last_row_attention(const std::vector<ModelInput>& inputs, int64_t layer) const {
  const ThreadCount threads(state_->threads);
  state_->walk.begin(layer + 1);
  return read_last_rows(*state_, inputs, layer);
}

std::vector<std::vector<float>> Engine::class_attention(const std::vector<ModelInput>& inputs) const {
  require(has_class_attention(state_->spec),
          "the vision tower of this model has no class token, or no block that it reads in, or its rows are no visual "
          "tokens");
  const ThreadCount threads(state_->threads);
  state_->walk.begin(0);
  std::vector<std::vector<float>> attention;
  for (const ModelInput& input : inputs) {
    Trace trace;
    if (!input.spans.empty()) {
      const Layout layout = make_layout({input}, std::vector<SharedPrefix>(1));
      const Buffer x = state_->buffer(layout.rows() * state_->spec.text.hidden_size, DType::F32);
      embed_inputs(*state_, {input}, layout, x.as<float>(), &trace);
    }
    attention.push_back(std::move(trace.vision_attention));
  }
  return attention;
}

Trace Engine::trace(const ModelInput& input, const TraceOptions& options) const {
  return std::move(traces({input}, options).front());
}

std::vector<Trace> Engine::traces(const std::vector<ModelInput>& inputs, const TraceOptions& options) const {
  require(!options.statistics && !options.attention,
          "trace: statistics and attention weights come from the torch engine");
  const ThreadCount threads(state_->threads);
  std::vector<Trace> traces(inputs.size());
  Session session(state_);
  ensure(options.decode.empty() || options.generate == 0, "tokens are forced or chosen");
  const int64_t more = options.generate > 0 ? options.generate - 1 : int64_t(options.decode.size());
  state_->walk.begin(state_->spec.text.num_hidden_layers * (1 + more));
  run_prefill(*state_, session, inputs, more, traces, options);
  const auto keep_logits = [&](int64_t request) {
    std::vector<float>& kept = traces[size_t(request)].decode_logits;
    const auto first = session.logits.begin() + request * state_->spec.text.vocab_size;
    kept.insert(kept.end(), first, first + state_->spec.text.vocab_size);
  };
  if (options.generate > 0) {
    std::vector<Generated> texts = generate(session, {.max_new_tokens = options.generate, .decoded = keep_logits});
    for (size_t i = 0; i < traces.size(); ++i) traces[i].generated = std::move(texts[i].tokens);
  }
  std::vector<int64_t> requests(inputs.size());
  std::iota(requests.begin(), requests.end(), int64_t(0));
  for (const int64_t token : options.decode) {
    decode(session, requests, std::vector<int64_t>(inputs.size(), token));
    for (const int64_t request : requests) keep_logits(request);
  }
  return traces;
}

}  // namespace yopo::runtime
