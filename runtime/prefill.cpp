#include "runtime/prefill.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "runtime/decoder.h"
#include "runtime/dropped.h"

namespace yopo::runtime {
namespace {

std::string size_text(int64_t bytes) {
  return bytes >= 1'000'000'000 ? fmt::format("{:.2f} GB", double(bytes) / 1e9)
                                : fmt::format("{:.2f} MB", double(bytes) / 1e6);
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

std::vector<int64_t> lengths_of(const std::vector<ModelInput>& inputs) {
  std::vector<int64_t> lengths;
  for (const ModelInput& input : inputs) lengths.push_back(input.length());
  return lengths;
}

/// What comes behind the last layer: text rows become part of the caches, logits are computed, the rest is counted.
void finish_prefill(const EngineState& state, Session& session, const std::vector<ModelInput>& inputs,
                    const Layout& layout, Decoder& decoder, std::span<Trace> traces, const TraceOptions& options) {
  const DecoderSpec& spec = state.spec.text;
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
  const std::optional<Dropped> dropped = dropped_of(state, inputs);
  ensure(!dropped || traces.empty() ||
             !(options.hidden || options.embeddings || options.visual_rows || options.keep_rows || options.from_rows),
         "rows that are dropped cannot be shown");
  int64_t cache_bytes = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    VisualCounts visual = visual_counts(dropped, inputs, i);
    if (layout.requests[i].leader >= 0) visual = {};
    cache_bytes += KvCache::bytes(spec, state.layers, visual, inputs[i].text_tokens() + capacity, state.type());
  }
  const int64_t logit_rows = !traces.empty() && (options.all_logits || options.last_logits > 1)
                                 ? std::min(layout.rows(), logits_slice)
                                 : int64_t(inputs.size());
  const int64_t logits_bytes = logit_rows * spec.vocab_size * int64_t(sizeof(float));
  make_room(state,
            cache_bytes +
                (dropped ? 2 : 1) *
                    Decoder::bytes(state, layout.visual_rows, layout.text_rows, int64_t(layout.images.size())) +
                std::max(vision_bytes(state, inputs, layout), logits_bytes),
            "the batch's KV caches and activations");
  const Range range(*state.ops, "prefill");
  std::vector<Request*> requests;
  session.requests.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ModelInput& input = inputs[i];
    const int64_t leader = layout.requests[i].leader;
    session.requests.push_back(
        {KvCache(spec, state.layers, visual_counts(dropped, inputs, i), input.text_tokens() + capacity, state.type(),
                 *state.ops, &state.memory, leader < 0 ? nullptr : &session.requests[size_t(leader)].cache),
         input.next_position(), input.length(), true});
    requests.push_back(&session.requests.back());
  }
  Decoder decoder(state, requests, &layout);
  if (!options.from_rows)
    embed_inputs(state, inputs, layout, decoder.x(), traces.size() == 1 ? &traces[0] : nullptr, decoder.deep());
  state.ops->synchronize();  // for the stopwatch alone: the vision tower has its own
  const Stopwatch watch(state.counters.prefill_seconds);
  decoder.place(inputs, lengths_of(inputs));
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
    if (const int64_t bytes = decoder.deep_bytes(); bytes > 0) {
      options.keep_rows->emplace_back(size_t(bytes) / sizeof(float));
      state.ops->download(options.keep_rows->back().data(), decoder.deep().data, size_t(bytes));
    }
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
    if (const int64_t bytes = decoder.deep_bytes(); bytes > 0)
      state.ops->upload(decoder.deep().data, options.from_rows->at(size_t(spec.num_hidden_layers)).data(),
                        size_t(bytes));
  }
  const LayerRanges ranges(*state.ops, &state.ranges, "layer", options.from_rows ? options.first_layer : 0,
                           spec.num_hidden_layers, "head");
  decoder.issue_layers(state.counters.prefill, hidden_after, options.from_rows ? options.first_layer : 0,
                       dropped ? dropped->from_layer : -1);
  if (!dropped) {
    finish_prefill(state, session, inputs, layout, decoder, traces, options);
    return;
  }
  state.counters.prefill.attention += decoder.take_attention_macs();
  Decoder shorter(state, requests, &dropped->layout);
  shorter.place(dropped->rest, lengths_of(inputs));
  move_rows(state, inputs, layout, decoder.x(), *dropped, shorter.x());
  for (int64_t tap = 0; shorter.deep().data && tap < state.spec.deep_taps(); ++tap)
    move_rows(state, inputs, layout, decoder.deep().data + tap * layout.visual_rows * spec.hidden_size, *dropped,
              shorter.deep().data + tap * dropped->layout.visual_rows * spec.hidden_size, true);
  shorter.issue_layers(state.counters.prefill, {}, dropped->from_layer);
  finish_prefill(state, session, inputs, dropped->layout, shorter, traces, options);
}

}  // namespace yopo::runtime
