#include "evaluation/verify.h"

#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "compress/cost.h"
#include "compress/pruned_config.h"
#include "core/memory.h"
#include "core/progress.h"
#include "models/tensors.h"
#include "models/torch_engine.h"
#include "runtime/engine.h"

namespace yopo {

namespace {

constexpr double kLogitLimit = 1e-4;  // relative to the largest |logit|, fp32

/// max |a - b| / max |b|; infinite when sizes differ, nothing is there, or a value is no number.
double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return std::numeric_limits<double>::infinity();
  double worst = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double(a[i]) - double(b[i]));
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, difference);
    scale = std::max(scale, std::abs(double(b[i])));
  }
  return worst / std::max(scale, 1e-30);
}

VerifyCheck at_most(const std::string& name, double value, double limit) { return {name, value, limit, value <= limit}; }

struct Account {
  double counted = 0, promised = 0;
  Json json() const { return {{"counted", counted}, {"promised", promised}}; }
  double difference() const { return std::abs(counted - promised); }
};

}  // namespace

namespace {

/// An engine that is there while it is used: kept between uses, unless memory is limited.
template <typename Engine>
class Place {
 public:
  Place(std::function<Engine()> make, bool keep) : make_(std::move(make)), keep_(keep) {}
  template <typename Use>
  void with(const Use& use) {
    if (!engine_) engine_.emplace(make_());
    use(*engine_);
    if (!keep_) engine_.reset();
  }

 private:
  std::function<Engine()> make_;
  bool keep_;
  std::optional<Engine> engine_;
};

/// Samples that go through the layers together where these are brought in one at a time: as many as the engine takes and
/// as leave a quarter of the memory to their traces, which both engines keep.
size_t chunk_size(const TorchEngine& torch, const std::vector<ModelInput>& inputs, size_t first, int64_t memory) {
  if (!torch.streaming()) return 1;
  const DecoderSpec& spec = torch.spec().text;
  int64_t most = std::numeric_limits<int64_t>::max(), bytes = 0;
  size_t count = 0;
  for (size_t i = first; i < inputs.size(); ++i, ++count) {
    most = std::min(most, torch.samples_at_once(inputs[i], true));
    bytes += 2 * inputs[i].length() * ((spec.num_hidden_layers + 1) * spec.hidden_size + spec.vocab_size) * 4;
    if (count > 0 && (int64_t(count) >= most || bytes > memory / 4)) break;
  }
  return count;
}

}  // namespace

VerifyResult verify(const OpenModel& pruned, const VerifyOptions& options) {
  require(!options.samples.empty(), "verify: no samples");
  ensure(options.max_new_tokens > 0, "a text of at least one token");
  const DecoderSpec& spec = pruned.spec.text;
  const std::optional<Plan> stored = plan_of_checkpoint(pruned.checkpoint, spec);
  const Plan dense = dense_plan(spec);
  const Plan plan = stored.value_or(dense);
  runtime::Options run;
  run.dtype = "fp32";  // the proof is of the arithmetic, not of a dtype's rounding
  run.threads = options.threads;
  int64_t weights = 0;
  for (const StoredTensor& tensor : stored_tensors(pruned.spec)) weights += element_count(tensor.shape, tensor.name) * 4;
  const int64_t memory = memory_limit(options.memory, weights * (options.original.empty() ? 2 : 4));
  run.memory = memory / 4 * 3;  // the rest is for what the engines say, to be compared
  run.device = options.device;
  run.share_prefixes = false;  // how many samples meet in a batch follows from the memory; the accounts must not
  const bool keep = memory == 0;
  const Processor processor(pruned);
  std::vector<ModelInput> inputs;
  for (const Sample& sample : options.samples) inputs.push_back(processor.prepare(sample));

  std::optional<OpenModel> original;
  if (!options.original.empty()) original.emplace(open_model(options.original));
  Place<TorchEngine> torch([&] { return TorchEngine(pruned, {"fp32", options.threads, run.memory}); }, keep);
  Place<runtime::Engine> runtime([&] { return runtime::Engine(pruned, plan, run); }, keep);
  Place<runtime::Engine> reordered_dense([&] { return runtime::Engine(pruned, dense, run); }, keep);
  Place<runtime::Engine> original_dense([&] { return runtime::Engine(*original, dense, run); }, keep);

  double worst_logits = 0, worst_hidden = 0, worst_dense = 0, different_texts = 0;
  Account prefill, decode, kv, dense_prefill;
  double dense_kv = 0;
  Progress progress("verifying", int64_t(options.samples.size()), "samples");
  for (size_t first = 0; first < inputs.size();) {
    TraceOptions rows;  // all logits, all hidden rows
    std::vector<Trace> expected;
    std::vector<ModelInput> chunk;
    torch.with([&](const TorchEngine& engine) {
      const size_t count = chunk_size(engine, inputs, first, memory);
      chunk.assign(inputs.begin() + std::ptrdiff_t(first), inputs.begin() + std::ptrdiff_t(first + count));
      TraceOptions with_text = rows;
      with_text.generate = options.max_new_tokens;
      expected = engine.traces(chunk, plan, std::vector<TraceOptions>(count, with_text));
    });
    runtime.with([&](const runtime::Engine& engine) {
      runtime::Counters& counters = engine.counters();
      counters = {};
      const std::vector<Trace> actual = engine.traces(chunk, rows);
      kv.counted += double(counters.kv_bytes);
      for (size_t i = 0; i < chunk.size(); ++i) {
        worst_logits = std::max(worst_logits, relative_difference(actual[i].logits, expected[i].logits));
        worst_hidden = std::max(worst_hidden, relative_difference(actual[i].hidden, expected[i].hidden));
        const PromptShape shape = shape_of(chunk[i]);
        kv.promised += double(kv_bytes(plan, spec, shape, 0, int64_t(size_of(engine.dtype()))));
        dense_kv += double(kv_bytes(dense, spec, shape, 0, int64_t(size_of(engine.dtype()))));
        prefill.promised += prefill_cost(plan, spec, shape).flops();
        dense_prefill.promised += prefill_cost(dense, spec, shape).flops();
      }
      counters = {};
      const std::vector<runtime::Generated> generated = engine.generate(chunk, options.max_new_tokens);
      prefill.counted += counters.prefill.flops();
      decode.counted += counters.decode.flops();
      for (size_t i = 0; i < chunk.size(); ++i) {
        if (generated[i].tokens != expected[i].generated) ++different_texts;
        // The last token of a text that ends at the limit is chosen, not decoded.
        const int64_t steps = int64_t(generated[i].tokens.size()) - (generated[i].stopped ? 0 : 1);
        for (int64_t step = 0; step < steps; ++step)
          decode.promised += decode_cost(plan, spec, shape_of(chunk[i]), step).flops();
      }
    });
    if (original) {
      TraceOptions last;
      last.hidden = false;
      std::vector<Trace> before, after;
      original_dense.with([&](const runtime::Engine& engine) { before = engine.traces(chunk, last); });
      reordered_dense.with([&](const runtime::Engine& engine) { after = engine.traces(chunk, last); });
      for (size_t i = 0; i < chunk.size(); ++i)
        worst_dense = std::max(worst_dense, relative_difference(after[i].logits, before[i].logits));
    }
    progress.tick(int64_t(chunk.size()));
    first += chunk.size();
  }
  progress.finish();

  VerifyResult result;
  result.checks.push_back(at_most("skip_logits", worst_logits, kLogitLimit));
  result.checks.push_back(at_most("skip_hidden", worst_hidden, kLogitLimit));
  result.checks.push_back(at_most("skip_text", different_texts / double(options.samples.size()), 0));
  if (original) result.checks.push_back(at_most("dense_logits", worst_dense, kLogitLimit));
  result.checks.push_back(at_most("flops_counted", prefill.difference() + decode.difference(), 0));
  result.checks.push_back(at_most("kv_counted", kv.difference(), 0));
  result.flops = {{"prefill", prefill.json()}, {"decode", decode.json()}, {"prefill_dense_promised", dense_prefill.promised}};
  result.kv_bytes = kv.json();
  result.kv_bytes["dense_promised"] = dense_kv;
  result.passed = true;
  for (const VerifyCheck& check : result.checks) result.passed = result.passed && check.passed;
  return result;
}

Json verify_to_json(const VerifyResult& result) {
  Json checks = Json::array();
  for (const VerifyCheck& check : result.checks)
    checks.push_back({{"name", check.name},
                      {"value", std::isfinite(check.value) ? Json(check.value) : Json("not finite")},
                      {"limit", check.limit},
                      {"passed", check.passed}});
  return {{"passed", result.passed}, {"checks", checks}, {"flops", result.flops}, {"kv_bytes", result.kv_bytes}};
}

}  // namespace yopo
