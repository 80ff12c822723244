#include "runtime/engine.h"

#include <omp.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/memory.h"
#include "runtime/cpu/gemm.h"
#include "runtime/decode_step.h"
#include "runtime/decoder.h"
#include "runtime/device.h"

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

std::string size_text(int64_t bytes) {
  return bytes >= 1'000'000'000 ? fmt::format("{:.2f} GB", double(bytes) / 1e9)
                                : fmt::format("{:.2f} MB", double(bytes) / 1e6);
}

/// Makes the layers' weights fit beside `bytes` more of KV caches and activations. UserError if they cannot.
void make_room(const EngineState& state, int64_t bytes, const char* what) {
  if (state.memory_budget == 0) return;
  Weights& weights = *state.weights;
  const int64_t held = weights.fixed_bytes + state.memory.bytes, room = state.memory_budget - held - bytes;
  // The tower runs once a prompt, the decoder for every token: the tower's layers come and go first.
  const int64_t tower = weights.vision_layers->count() * weights.vision_layers->layer_bytes();
  const bool tower_fits = tower + weights.layers->count() * weights.layers->layer_bytes() <= room;
  const int64_t one = weights.vision_layers->count() > 0 ? weights.vision_layers->layer_bytes() : 0;
  const int64_t tower_room = tower_fits ? tower : one;
  require(weights.layers->keep_within(room - tower_room) && weights.vision_layers->keep_within(tower_room),
          "memory: {} are too little: {} take {} beside {} that are held and {} of one layer's weights",
          size_text(state.memory_budget), what, size_text(bytes), size_text(held),
          size_text(weights.layers->layer_bytes() + one));
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
void set_weights(EngineState& state, std::shared_ptr<Weights> weights) {
  state.weights = std::move(weights);
  const Weights& all = *state.weights;
  if (state.ops->host_memory)
    state.memory_budget =
        memory_limit(state.memory_budget, all.fixed_bytes + all.layers->count() * all.layers->layer_bytes() +
                                              all.vision_layers->count() * all.vision_layers->layer_bytes());
  if (state.memory_budget == 0)
    state.weights->layers->load_all(), state.weights->vision_layers->load_all();
  else
    make_room(state, 0, "no request's");
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

/// The layers as the weights' order shows them, and their head flags and compensation on the device.
void set_layers(EngineState& state, bool holes = false) {
  state.layers = slices_of(reorder_plan(state.plan, state.spec.text, state.orders), state.spec.text, holes);
  for (const LayerSlices& layer : state.layers) {
    const HeadFlags &heads = layer.plan.heads, &updates = layer.plan.updates;
    Buffer kept(*state.ops, heads.size()), updated(*state.ops, updates.size());
    state.ops->upload(kept.data(), heads.data(), heads.size());
    state.ops->upload(updated.data(), updates.data(), updates.size());
    state.head_flags.emplace_back(std::move(kept), std::move(updated));
    state.compensation.push_back(compensation_of(state, layer.plan));
  }
}

void count_kv(const EngineState& state, const Session& session) {
  int64_t bytes = 0;
  std::set<const void*> visual;
  for (const Request& request : session.requests) {
    if (!request.live) continue;
    bytes += request.cache.text_bytes_in_use();
    if (visual.insert(request.cache.visual_part()).second) bytes += request.cache.visual_bytes_in_use();
  }
  state.counters.kv_bytes = bytes;
  state.counters.kv_peak_bytes = std::max(state.counters.kv_peak_bytes, bytes);
}

/// x in sequence order, appended to each request's trace.hidden.
void keep_hidden(const EngineState& state, const Layout& layout, const float* x, std::span<Trace> traces) {
  const int64_t hidden = state.spec.text.hidden_size;
  std::vector<float> host(size_t(layout.rows() * hidden));
  state.ops->download(host.data(), x, host.size() * sizeof(float));
  for (size_t i = 0; i < traces.size(); ++i)
    for (const int64_t row : layout.requests[i].row_of) {
      const auto first = host.begin() + row * hidden;
      traces[i].hidden.insert(traces[i].hidden.end(), first, first + hidden);
    }
}

constexpr int64_t logits_slice = 256;  // rows at once: bounds the logits on the device

/// Logits of rows of x, [rows.size(), vocab] on the host.
void download_logits(const EngineState& state, Decoder& decoder, std::span<const int64_t> rows, float* out) {
  const int64_t vocab = state.spec.text.vocab_size;
  for (size_t first = 0; first < rows.size(); first += logits_slice) {
    const std::span<const int64_t> here = rows.subspan(first, std::min(size_t(logits_slice), rows.size() - first));
    const Buffer logits = state.buffer(int64_t(here.size()) * vocab, DType::F32);
    decoder.issue_head(here, logits.as<float>(), state.counters.prefill);
    state.ops->download(out + int64_t(first) * vocab, logits.data(), here.size() * size_t(vocab) * sizeof(float));
  }
}

void run_prefill(const EngineState& state, Session& session, const std::vector<ModelInput>& inputs, int64_t capacity,
                 std::span<Trace> traces, const TraceOptions& options) {
  require(!inputs.empty(), "prefill: no requests");
  require(capacity >= 0, "prefill: capacity {} is negative", capacity);
  ensure(traces.empty() || traces.size() == inputs.size(), "a trace a request");
  const DecoderSpec& spec = state.spec.text;
  const Layout layout = make_layout(
      inputs, state.share_prefixes ? shared_prefixes(state.spec, inputs) : std::vector<SharedPrefix>(inputs.size()));
  for (size_t i = 0; i < traces.size(); ++i) {
    Trace& trace = traces[i];
    trace.layers = spec.num_hidden_layers, trace.length = inputs[i].length(), trace.hidden_size = spec.hidden_size;
    trace.vocab_size = spec.vocab_size, trace.heads = spec.num_attention_heads;
    trace.intermediate_size = spec.intermediate_size;
  }
  int64_t cache_bytes = 0;
  for (size_t i = 0; i < inputs.size(); ++i)
    cache_bytes += KvCache::bytes(spec, state.layers, layout.requests[i].visual_rows,
                                  inputs[i].text_tokens() + capacity, state.type());
  const int64_t logit_rows = !traces.empty() && (options.all_logits || options.last_logits > 1)
                                 ? std::min(layout.rows(), logits_slice)
                                 : int64_t(inputs.size());
  const int64_t logits_bytes = logit_rows * spec.vocab_size * int64_t(sizeof(float));
  make_room(state,
            cache_bytes + Decoder::bytes(state, layout.visual_rows, layout.text_rows, int64_t(layout.images.size())) +
                std::max(vision_bytes(state, inputs, layout), logits_bytes),
            "the batch's KV caches and activations");
  std::vector<Request*> requests;
  session.requests.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ModelInput& input = inputs[i];
    const int64_t leader = layout.requests[i].leader;
    session.requests.push_back(
        {KvCache(spec, state.layers, input.visual_tokens(), input.text_tokens() + capacity, state.type(), *state.ops,
                 &state.memory, leader < 0 ? nullptr : &session.requests[size_t(leader)].cache),
         input.next_position(), input.length(), true});
    requests.push_back(&session.requests.back());
  }
  Decoder decoder(state, requests, &layout);
  if (!options.from_rows) embed_inputs(state, inputs, layout, decoder.x(), traces.size() == 1 ? &traces[0] : nullptr);
  state.ops->synchronize();  // for the stopwatch alone: the vision tower has its own
  const Stopwatch watch(state.counters.prefill_seconds);
  decoder.place(inputs);
  std::function<void(int64_t)> hidden_after;
  if (!traces.empty() && (options.hidden || options.embeddings)) keep_hidden(state, layout, decoder.x(), traces);
  if (!traces.empty() && options.hidden) {
    hidden_after = [&](int64_t) { keep_hidden(state, layout, decoder.x(), traces); };
  }
  if (options.visual_rows)
    decoder.watch_visual_rows([&](int64_t layer, const void* normed, float* x) {
      options.visual_rows({layer, layout.visual_rows, normed, state.type(), x});
    });
  if (options.keep_rows) {
    ensure(!hidden_after, "rows are kept in one way");
    options.keep_rows->assign(size_t(spec.num_hidden_layers), {});
    const auto keep = [&](int64_t layer) {
      if (layer >= spec.num_hidden_layers) return;
      std::vector<float>& rows = (*options.keep_rows)[size_t(layer)];
      rows.resize(size_t(layout.rows() * spec.hidden_size));
      state.ops->download(rows.data(), decoder.x(), rows.size() * sizeof(float));
    };
    keep(0);
    hidden_after = [keep](int64_t layer) { keep(layer + 1); };
  }
  if (options.from_rows) {
    const std::vector<float>& rows = options.from_rows->at(size_t(options.first_layer));
    ensure(int64_t(rows.size()) == layout.rows() * spec.hidden_size, "rows of the same inputs");
    state.ops->upload(decoder.x(), rows.data(), rows.size() * sizeof(float));
  }
  decoder.issue_layers(state.counters.prefill, hidden_after, options.from_rows ? options.first_layer : 0);
  for (size_t i = 0; i < inputs.size(); ++i) session.requests[i].cache.advance(inputs[i].text_tokens());

  session.logits.resize(inputs.size() * size_t(spec.vocab_size));
  std::vector<int64_t> last;
  for (const RequestRows& rows : layout.requests) last.push_back(rows.row_of.back());
  download_logits(state, decoder, last, session.logits.data());
  for (size_t i = 0; i < traces.size(); ++i) {
    std::vector<float>& logits = traces[i].logits;
    const std::vector<int64_t>& rows = layout.requests[i].row_of;
    const size_t asked = options.all_logits ? rows.size() : size_t(std::max<int64_t>(options.last_logits, 1));
    const size_t more = std::min(asked, rows.size()) - 1;
    if (more > 0) {
      logits.resize(more * size_t(spec.vocab_size));
      download_logits(state, decoder, std::span(rows).subspan(rows.size() - 1 - more, more), logits.data());
    }
    const auto first = session.logits.begin() + int64_t(i) * spec.vocab_size;
    logits.insert(logits.end(), first, first + spec.vocab_size);
  }
  state.counters.prefill.attention += decoder.take_attention_macs();
  state.counters.prefill_tokens += layout.rows();
  count_kv(state, session);
  state.counters.kv_prompt_bytes = state.counters.kv_bytes;
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
  set_weights(*state_,
              load_weights(model, state_->orders, choose_type(options, model.spec.dtype, *state_->ops), *state_->ops));
  set_layers(*state_);
}

Engine::Engine(const ModelSpec& spec, const Plan& plan, const Options& options, uint64_t seed)
    : state_(std::make_shared<State>()) {
  const ThreadCount threads(options.threads);
  set_up(*state_, spec, plan, options);
  state_->orders = prefix_orders(plan, spec.text);
  set_weights(*state_,
              random_weights(spec, state_->orders, choose_type(options, spec.dtype, *state_->ops), seed, *state_->ops));
  set_layers(*state_);
}

Engine::Engine(std::shared_ptr<State> state) : state_(std::move(state)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

Engine::Engine(const OpenModel& model, const Plan& plan, const std::vector<LayerOrder>& orders, const Options& options)
    : state_(std::make_shared<State>()) {
  const ThreadCount threads(options.threads);
  set_up(*state_, model.spec, plan, options);
  state_->orders = orders;
  set_weights(*state_, load_weights(model, orders, choose_type(options, model.spec.dtype, *state_->ops), *state_->ops));
  set_layers(*state_);
}

Engine Engine::dense() const { return under(dense_plan(state_->spec.text)); }

Engine Engine::under(const Plan& plan, bool holes) const {
  check_plan(plan, state_->spec.text, "plan");
  auto twin = std::make_shared<State>();
  twin->spec = state_->spec;
  twin->plan = plan;
  twin->orders = state_->orders;
  twin->weights = state_->weights;
  twin->ops = state_->ops;
  twin->threads = state_->threads;
  twin->share_prefixes = state_->share_prefixes;
  twin->walk = state_->walk;
  twin->memory_budget = state_->memory_budget;
  set_layers(*twin, holes);
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
