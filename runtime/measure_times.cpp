#include "runtime/measure_times.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <set>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "runtime/device.h"
#include "runtime/machine.h"
#include "runtime/random_input.h"
#include "runtime/state.h"

namespace yopo::runtime {
namespace {

constexpr size_t cold_bytes = size_t(128) << 20;  // of weights in turns: more than a core's caches hold
constexpr int64_t most_copies = 64;

double milliseconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return 1e3 * std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What a quarter of several calls stay below: other work on the machine only ever slows one down.
double time_of(const Ops& ops, const std::function<void()>& work) {
  constexpr double enough = 40;  // milliseconds in all
  const auto once = [&] {
    return milliseconds([&] {
      work();
      ops.synchronize();
    });
  };
  ops.synchronize();
  once();  // what the first of a shape sets up is not its time
  const auto calls = size_t(std::clamp(enough / std::max(once(), 1e-3), 5.0, 40.0));
  std::vector<double> found;
  for (size_t i = 0; i < calls; ++i) found.push_back(once());
  std::nth_element(found.begin(), found.begin() + std::ptrdiff_t(calls / 4), found.end());
  return found[calls / 4];
}

/// `top` and fractions of it, in steps of a half or a third of themselves, with `own` values among them.
std::vector<int64_t> points(int64_t top, int64_t least, std::vector<int64_t> own) {
  std::set<int64_t> chosen;
  for (int64_t value = top; value >= least; value /= 2) {
    chosen.insert(value);
    if (value * 3 / 4 > least) chosen.insert(value * 3 / 4);
  }
  for (const int64_t value : own)
    if (value > 0) chosen.insert(value);
  return {chosen.begin(), chosen.end()};
}

class Measure {
 public:
  Measure(const ModelSpec& model, int64_t visual, int64_t text, const Options& options)
      : model_(model),
        spec_(model.text),
        options_(options),
        ops_(device_ops(options)),
        type_(computing_type(options, model.dtype)),
        visual_(visual),
        text_(text) {}
  TimeTable table();

 private:
  Buffer filled(size_t elements, DType type) const;
  std::vector<double> products(int64_t outputs, int64_t inputs, bool into_hidden) const;
  void all_products();
  void elementwise();
  void attention();
  void whole_layers();

  const ModelSpec& model_;
  const DecoderSpec& spec_;
  const Options& options_;
  const Ops& ops_;
  DType type_;
  int64_t visual_, text_;
  TimeTable table_;
};

Buffer Measure::filled(size_t elements, DType type) const { return random_buffer(ops_, elements, type); }

/// Of a weight [outputs, inputs], by rows of `table_.rows`.
std::vector<double> Measure::products(int64_t outputs, int64_t inputs, bool into_hidden) const {
  const bool packs = options_.pack && options_.memory == 0 && ops_.packed_bytes && ops_.packed_bytes(type_, 1, 1) > 0;
  const size_t elements = size_t(outputs) * size_t(inputs);
  const size_t bytes = packs ? ops_.packed_bytes(type_, outputs, inputs) : elements * size_of(type_);
  // A model that caches hold whole finds its weights there.
  const auto wanted = double(std::min(cold_bytes, size_t(weight_bytes(spec_, int64_t(size_of(type_))))));
  const int64_t copies = std::clamp<int64_t>(int64_t(wanted / double(bytes)), 1, most_copies);
  std::vector<Buffer> weights;
  const Buffer by_rows = filled(packs ? elements : 0, type_);
  for (int64_t i = 0; i < copies; ++i) {
    weights.push_back(packs ? Buffer(ops_, bytes) : filled(elements, type_));
    if (packs) ops_.pack(type_, by_rows.data(), inputs, outputs, inputs, weights.back().data());
  }
  const int64_t most = table_.rows.back();
  const Buffer a = filled(size_t(most * inputs), type_), out = filled(size_t(most * outputs), DType::F32);
  Gemm gemm;
  gemm.type = type_;
  gemm.n = outputs, gemm.k = inputs;
  gemm.a = a.data(), gemm.lda = inputs;
  gemm.ldw = inputs, gemm.packed = packs;
  gemm.out = out.data(), gemm.ldo = outputs;
  gemm.out_type = into_hidden ? DType::F32 : type_;
  gemm.accumulate = into_hidden;
  std::vector<double> times;
  size_t turn = 0;
  for (const int64_t rows : table_.rows) {
    check_interrupt();
    gemm.m = rows;
    times.push_back(time_of(ops_, [&] {
      gemm.w = weights[turn++ % weights.size()].data();
      ops_.gemm(gemm);
    }));
  }
  return times;
}

void Measure::all_products() {
  const int64_t all = visual_ + text_, heads = spec_.num_attention_heads * spec_.head_dim;
  table_.rows = points(all, 16, {1, text_, visual_});
  table_.widths = points(spec_.intermediate_size, 64, {heads, heads / 2, spec_.num_key_value_heads * spec_.head_dim});
  const size_t widths = table_.widths.size();
  table_.out.assign(table_.rows.size() * widths, 0.0);
  table_.in = table_.out;
  Progress progress("times", 2 * int64_t(table_.out.size()), "products");
  for (size_t w = 0; w < widths; ++w)
    for (const bool into_hidden : {false, true}) {
      const int64_t width = table_.widths[w], hidden = spec_.hidden_size;
      const std::vector<double> times = into_hidden ? products(hidden, width, true) : products(width, hidden, false);
      for (size_t r = 0; r < times.size(); ++r) (into_hidden ? table_.in : table_.out)[r * widths + w] = times[r];
      progress.tick(int64_t(times.size()));
    }
  progress.finish();
}

void Measure::elementwise() {
  const int64_t rows = visual_ + text_, hidden = spec_.hidden_size, dim = spec_.head_dim;
  const int64_t heads = spec_.num_attention_heads, kv_heads = spec_.num_key_value_heads;
  const Buffer x = filled(size_t(rows * hidden), DType::F32), weight = filled(size_t(hidden), DType::F32);
  const Buffer out(ops_, size_t(rows * hidden) * size_of(type_));
  table_.norm =
      time_of(ops_,
              [&] {
                ops_.rms_norm(x.as<float>(), weight.as<float>(), spec_.rms_norm_eps, rows, hidden, type_, out.data());
              }) /
      double(rows);
  const Buffer q = filled(size_t(rows * heads * dim), type_), angles = filled(size_t(rows * dim / 2), DType::F32);
  table_.rope =
      time_of(
          ops_,
          [&] { ops_.rope(q.data(), type_, rows, heads, dim, heads * dim, angles.as<float>(), angles.as<float>()); }) /
      double(rows * heads);
  const size_t kv = size_t(rows * kv_heads * dim);
  const Buffer k = filled(kv, type_), v = filled(kv, type_), keys = filled(kv, type_), values = filled(kv, type_);
  const StoreRows target{0, rows, 0, {keys.data(), values.data(), kv_heads, rows, rows}};
  table_.store = time_of(ops_,
                         [&] {
                           ops_.store({k.data(), v.data(), v.data(), kv_heads, kv_heads * dim}, type_, dim,
                                      angles.as<float>(), angles.as<float>(), {&target, 1});
                         }) /
                 double(rows * kv_heads);
  const int64_t neurons = std::min<int64_t>(rows, 512) * spec_.intermediate_size;  // as many rows as an FFN's slice
  const Buffer gate = filled(size_t(neurons), type_), up = filled(size_t(neurons), type_);
  table_.gated = time_of(ops_, [&] { ops_.gated(gate.data(), up.data(), type_, 1, neurons, neurons, gate.data()); }) /
                 double(neurons);
}

/// One request's attention: text rows alone, then with visual rows, without a window and with two.
void Measure::attention() {
  const int64_t heads = spec_.num_attention_heads, kv_heads = spec_.num_key_value_heads, dim = spec_.head_dim;
  const PromptShape shape = square_prompt(visual_, text_);
  const Span image = shape.spans.empty() ? Span{} : shape.spans.front();
  const auto on_device = [&](const auto& values) {
    Buffer buffer(ops_, std::max<size_t>(1, values.size() * sizeof(values[0])));
    if (!values.empty()) ops_.upload(buffer.data(), values.data(), values.size() * sizeof(values[0]));
    return buffer;
  };
  std::vector<int32_t> visual_before;
  visual_before.resize(size_t(text_), int32_t(visual_));
  std::fill_n(visual_before.begin(), std::min(image.start, text_), 0);
  const Buffer before_text = on_device(visual_before);
  const Buffer before_visual =
      on_device(std::vector<int32_t>(std::max<size_t>(1, size_t(visual_)), int32_t(image.start)));
  const Buffer image_of = on_device(std::vector<int32_t>(size_t(visual_), 0));
  const Buffer images = on_device(std::vector<ImageGrid>{{0, image.rows, image.columns}});
  const Buffer all_heads = on_device(std::vector<uint8_t>(size_t(heads), 1));
  const Buffer no_heads = on_device(std::vector<uint8_t>(size_t(heads), 0));
  const int64_t rows = visual_ + text_;
  const Buffer q = filled(size_t(rows * heads * dim), type_), out(ops_, q.bytes());
  const auto segment = [&](const Buffer& keys, const Buffer& values, int64_t count) {
    return KvSegment{keys.data(), values.data(), kv_heads, std::max<int64_t>(count, 1), count};
  };
  const size_t most = size_t(std::max<int64_t>(1, std::max(visual_, text_)) * kv_heads * dim);
  const Buffer visual_keys = filled(most, type_), visual_values = filled(most, type_);
  const Buffer text_keys = filled(most, type_), text_values = filled(most, type_);
  const Buffer pairs = on_device(std::vector<uint64_t>{0});

  PrefillRequest request;
  request.visual_rows = visual_, request.text_row = visual_, request.text_rows = text_;
  request.visual_before_text = before_text.as<int32_t>(), request.text_before_visual = before_visual.as<int32_t>();
  request.image_of_visual = image_of.as<int32_t>(), request.images = images.as<ImageGrid>();
  request.visual = segment(visual_keys, visual_values, visual_);
  request.text = segment(text_keys, text_values, text_);
  PrefillAttention work;
  work.type = type_, work.heads = heads, work.kv_heads = kv_heads, work.head_dim = dim;
  work.q = q.data(), work.out = out.data();
  work.q_places.stride = work.out_places.stride = heads * dim;
  work.kept = all_heads.as<uint8_t>(), work.updated = all_heads.as<uint8_t>();
  work.pairs = pairs.as<uint64_t>();
  work.requests = {&request, 1};
  const auto timed = [&](int64_t radius) {
    work.window_radius = radius, work.window_causal = radius >= 0;
    return time_of(ops_, [&] { ops_.prefill_attention(work); });
  };
  const auto visual_pairs = [&](std::optional<Window> window) {
    const PairCounts counts = count_pairs(shape, window);
    return double(heads) * double(counts.visual_text + counts.visual_visual);
  };

  const PairCounts whole = count_pairs(shape, std::nullopt);
  PrefillRequest text_only = request;
  text_only.visual_rows = 0;
  work.requests = {&text_only, 1}, work.updated = no_heads.as<uint8_t>();
  const double text = timed(-1);
  table_.text_pair = text / (double(heads) * double(whole.text_text + whole.text_visual));
  if (visual_ == 0) return;
  work.requests = {&request, 1}, work.updated = all_heads.as<uint8_t>();
  table_.visual_pair = std::max(0.0, timed(-1) - text) / visual_pairs(std::nullopt);
  const double narrow = std::max(0.0, timed(1) - text), wide = std::max(0.0, timed(4) - text);
  const double narrow_pairs = visual_pairs(Window{3, true}), wide_pairs = visual_pairs(Window{9, true});
  const double queries = double(heads * visual_);
  if (wide_pairs > narrow_pairs) table_.window_pair = std::max(0.0, (wide - narrow) / (wide_pairs - narrow_pairs));
  table_.window_query = std::max(0.0, narrow - table_.window_pair * narrow_pairs) / queries;
}

/// What the parts leave out: prefills of one layer and of three, dense.
void Measure::whole_layers() {
  const PromptShape shape = square_prompt(visual_, text_);
  const auto timed = [&](int64_t layers) {
    ModelSpec cut = model_;
    cut.text.num_hidden_layers = layers;
    const Engine engine(cut, dense_plan(cut.text), options_, 0);
    const ModelInput input = random_input(shape, cut, 0);
    return time_of(ops_, [&] { engine.prefill({input}, 0); });
  };
  const double one = timed(1), three = timed(3);
  const double layer = std::max(0.0, (three - one) / 2);
  const double parts = layer_time(table_, dense_plan(spec_).layers.front(), spec_, shape);
  if (layer > 0 && parts > 0) table_.layer_scale = layer / parts;
  table_.fixed = std::max(0.0, one - layer);
}

TimeTable Measure::table() {
  const ThreadCount threads(options_.threads);
  table_.device = options_.device, table_.cpu = cpu_name(), table_.dtype = short_name(type_);
  table_.threads = options_.threads;
  table_.hidden_size = spec_.hidden_size, table_.num_attention_heads = spec_.num_attention_heads;
  table_.num_key_value_heads = spec_.num_key_value_heads, table_.head_dim = spec_.head_dim;
  table_.intermediate_size = spec_.intermediate_size;
  all_products();
  elementwise();
  attention();
  whole_layers();
  return std::move(table_);
}

}  // namespace

TimeTable measure_times(const ModelSpec& model, int64_t visual, int64_t text, const Options& options) {
  require(visual >= 0 && visual <= 1 << 20 && text >= 1 && text <= 1 << 20,
          "times: expected 0 to {} visual and 1 to {} text tokens, found {} and {}", 1 << 20, 1 << 20, visual, text);
  return Measure(model, visual, text, options).table();
}

}  // namespace yopo::runtime
