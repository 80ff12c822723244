#include "evaluation/verify.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "core/memory.h"
#include "core/progress.h"
#include "models/context.h"
#include "models/tensors.h"
#include "plans/cost.h"
#include "plans/pruned_config.h"
#include "reference/engine.h"
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

VerifyCheck at_most(const std::string& name, double value, double limit) {
  return {name, value, limit, value <= limit};
}

/// The tokens of a text that were decoded: the last of one that ends at the limit is chosen only.
std::vector<int64_t> decoded_tokens(const Trace& trace, int64_t limit) {
  std::vector<int64_t> tokens = trace.generated;
  if (int64_t(tokens.size()) == limit) tokens.pop_back();
  return tokens;
}

/// The sample from the rows on that its trace went into the layers with: the same checkpoint's tower need not run
/// again.
ModelInput embedded(const ModelInput& input, const Trace& trace) {
  ModelInput ready;
  ready.position_ids = input.position_ids;
  ready.position_axes = input.position_axes;
  ready.spans = input.spans;
  ready.embeds.assign(trace.hidden.begin(), trace.hidden.begin() + std::ptrdiff_t(input.length() * trace.hidden_size));
  return ready;
}

struct Account {
  double counted = 0, promised = 0;
  Json json() const { return {{"counted", counted}, {"promised", promised}}; }
  double difference() const { return std::abs(counted - promised); }
};

/// An engine that is there while it is used: kept between uses, unless memory is limited.
template <typename Engine>
class Loaded {
 public:
  Loaded(std::function<Engine()> make, bool keep) : make_(std::move(make)), keep_(keep) {}
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

/// Samples that go through the layers together where these are brought in one at a time: as many as the engine takes
/// and as leave a quarter of the memory to their traces, which both engines keep.
size_t chunk_size(const TorchEngine& torch, const std::vector<ModelInput>& inputs, size_t first, int64_t decoded,
                  int64_t memory) {
  if (!torch.streaming()) return 1;
  const DecoderSpec& spec = torch.spec().text;
  int64_t most = std::numeric_limits<int64_t>::max(), bytes = 0;
  size_t count = 0;
  for (size_t i = first; i < inputs.size(); ++i, ++count) {
    most = std::min(most, torch.samples_at_once(inputs[i], true));
    bytes += 2 * inputs[i].length() * ((spec.num_hidden_layers + 1) * spec.hidden_size + spec.vocab_size) * 4;
    bytes += 2 * decoded * spec.vocab_size * 4;
    if (count > 0 && (int64_t(count) >= most || bytes > memory / 4)) break;
  }
  return count;
}

/// The original that `pruned` came from. UserError if it is an export itself, which would be its own witness, or has
/// other sizes.
OpenModel open_original(const fs::path& folder, const OpenModel& pruned) {
  OpenModel original = open_model(folder);
  require(!has(original.checkpoint.config(), "yopo"),
          "verify: the original {} is an exported checkpoint itself and proves nothing: give the one it came from",
          folder.string());
  const auto sizes = [](const DecoderSpec& spec) {
    return fmt::format("{} layers of {} heads, {} neurons and width {}", spec.num_hidden_layers,
                       spec.num_attention_heads, spec.intermediate_size, spec.hidden_size);
  };
  const std::string there = sizes(original.spec.text), here = sizes(pruned.spec.text);
  require(there == here, "verify: {} is not the original of {}: it has {}, the export {}", folder.string(),
          pruned.checkpoint.folder().string(), there, here);
  return original;
}

}  // namespace

double logits_difference(const Trace& a, const Trace& b) {
  const double prompt = relative_difference(a.logits, b.logits);
  if (a.decode_logits.empty() && b.decode_logits.empty()) return prompt;  // a text of one token at most
  return std::max(prompt, relative_difference(a.decode_logits, b.decode_logits));
}

bool would_choose(const Trace& given, const std::vector<int64_t>& tokens, int64_t limit,
                  const std::vector<int64_t>& eos) {
  const size_t vocab = size_t(given.vocab_size);
  if (given.logits.size() < vocab) return false;
  std::vector<float> logits(given.logits.end() - std::ptrdiff_t(vocab), given.logits.end());
  logits.insert(logits.end(), given.decode_logits.begin(), given.decode_logits.end());
  const bool ended = int64_t(tokens.size()) < limit;
  if (logits.size() != (tokens.size() + (ended ? 1 : 0)) * vocab) return false;
  for (size_t step = 0; step * vocab < logits.size(); ++step) {
    const auto row = logits.begin() + std::ptrdiff_t(step * vocab), end = row + std::ptrdiff_t(vocab);
    if (std::any_of(row, end, [](float x) { return std::isnan(x); })) return false;
    const int64_t best = std::max_element(row, end) - row;
    if (step < tokens.size() ? best != tokens[step] : std::find(eos.begin(), eos.end(), best) == eos.end())
      return false;
  }
  return true;
}

VerifyResult verify(const OpenModel& pruned, const VerifyOptions& options) {
  require(!options.samples.empty(), "verify: no samples");
  ensure(options.max_new_tokens > 0, "a text of at least one token");
  const DecoderSpec& spec = pruned.spec.text;
  const std::optional<Plan> stored = plan_of_checkpoint(pruned.checkpoint, spec, options.budget);
  const Plan dense = dense_plan(spec);
  const Plan plan = stored.value_or(dense);
  runtime::Options run;
  run.dtype = "fp32";  // the proof is of the arithmetic, not of a dtype's rounding
  run.threads = options.threads;
  int64_t weights = 0;
  for (const StoredTensor& tensor : stored_tensors(pruned.spec))
    weights += element_count(tensor.shape, tensor.name) * 4;
  const int64_t memory = memory_limit(options.memory, weights * (options.original.empty() ? 2 : 4));
  run.memory = memory / 4 * 3;  // the rest is for what the engines say, to be compared
  run.device = options.device;
  run.share_prefixes = false;  // how many samples meet in a batch follows from the memory; the accounts must not
  std::function<void(double)> passing;  // of the samples that are in an engine
  run.passing = [&](double share) {
    if (passing) passing(share);
  };
  const bool keep = memory == 0;
  const Processor processor(pruned, options.prompts);
  ContextWatch context(pruned.spec);
  std::vector<ModelInput> inputs;
  for (const Sample& sample : options.samples) {
    inputs.push_back(processor.prepare(sample));
    context.look(inputs.back().length(), options.max_new_tokens, sample.where);
  }

  std::optional<OpenModel> original;
  if (!options.original.empty()) original.emplace(open_original(options.original, pruned));
  Loaded<TorchEngine> torch(
      [&] {
        return TorchEngine(pruned, {"fp32", options.threads, run.memory, run.passing});
      },
      keep);
  Loaded<runtime::Engine> runtime([&] { return runtime::Engine(pruned, plan, run); }, keep);
  Loaded<runtime::Engine> reordered_dense([&] { return runtime::Engine(pruned, dense, run); }, keep);
  Loaded<runtime::Engine> original_dense([&] { return runtime::Engine(*original, dense, run); }, keep);

  // What samples go through the layers together. The engine is asked once: it may be there for this alone.
  std::vector<size_t> counts;
  torch.with([&](const TorchEngine& engine) {
    for (size_t first = 0; first < inputs.size(); first += counts.back())
      counts.push_back(chunk_size(engine, inputs, first, options.max_new_tokens, memory));
  });

  double worst_logits = 0, worst_hidden = 0, worst_dense = 0, different_texts = 0;
  Account prefill, decode, kv, dense_prefill;
  double dense_kv = 0;
  // One pass of a sample is one engine's: with little memory minutes go by between them.
  Progress progress("verifying", int64_t(options.samples.size()) * (original ? 4 : 2), "passes");
  size_t first = 0;
  for (const size_t count : counts) {
    const std::vector<ModelInput> chunk(inputs.begin() + std::ptrdiff_t(first),
                                        inputs.begin() + std::ptrdiff_t(first + count));
    first += count;
    passing = [&](double share) { progress.part(share * double(count)); };
    TraceOptions with_text;  // all logits, all hidden rows
    with_text.generate = options.max_new_tokens;
    std::vector<Trace> actual, expected;
    runtime.with([&](const runtime::Engine& engine) {
      runtime::Counters& counters = engine.counters();
      counters = {};
      actual = engine.traces(chunk, with_text);
      kv.counted += double(counters.kv_prompt_bytes);
      prefill.counted += counters.prefill.flops();
      decode.counted += counters.decode.flops();
      for (size_t i = 0; i < count; ++i) {
        const PromptShape shape = shape_of(chunk[i]);
        kv.promised += double(kv_bytes(plan, spec, shape, 0, int64_t(size_of(engine.dtype()))));
        dense_kv += double(kv_bytes(dense, spec, shape, 0, int64_t(size_of(engine.dtype()))));
        prefill.promised += prefill_cost(plan, spec, shape, shape.length).flops();
        dense_prefill.promised += prefill_cost(dense, spec, shape, shape.length).flops();
        for (int64_t step = 0; step < int64_t(decoded_tokens(actual[i], options.max_new_tokens).size()); ++step)
          decode.promised += decode_cost(plan, spec, shape, step).flops();
      }
    });
    progress.tick(int64_t(count));
    torch.with([&](const TorchEngine& engine) {
      // The runtime's tokens are given to Torch, which then needs one walk through the layers instead of one a token.
      // Its own greedy text is the same if it would choose the same token behind every prefix of it.
      std::vector<TraceOptions> forced(count);
      for (size_t i = 0; i < count; ++i) {
        forced[i].decode = decoded_tokens(actual[i], options.max_new_tokens);
        forced[i].decode_hidden = false;
      }
      expected = engine.traces(chunk, plan, forced);
    });
    progress.tick(int64_t(count));
    for (size_t i = 0; i < count; ++i) {
      worst_logits = std::max(worst_logits, logits_difference(actual[i], expected[i]));
      worst_hidden = std::max(worst_hidden, relative_difference(actual[i].hidden, expected[i].hidden));
      if (!would_choose(expected[i], actual[i].generated, options.max_new_tokens, pruned.spec.eos_token_ids))
        ++different_texts;
    }
    std::vector<ModelInput> ready;
    if (original)
      for (size_t i = 0; i < count; ++i) ready.push_back(embedded(chunk[i], actual[i]));
    actual.clear(), expected.clear();  // their memory is needed for what comes
    if (original) {
      TraceOptions last;
      last.hidden = false;
      std::vector<Trace> before, after;
      original_dense.with([&](const runtime::Engine& engine) { before = engine.traces(chunk, last); });
      progress.tick(int64_t(count));
      reordered_dense.with([&](const runtime::Engine& engine) { after = engine.traces(ready, last); });
      progress.tick(int64_t(count));
      for (size_t i = 0; i < count; ++i)
        worst_dense = std::max(worst_dense, relative_difference(after[i].logits, before[i].logits));
    }
  }
  progress.finish();

  VerifyResult result;
  result.checks.push_back(at_most("skip_logits", worst_logits, kLogitLimit));
  result.checks.push_back(at_most("skip_hidden", worst_hidden, kLogitLimit));
  result.checks.push_back(at_most("skip_text", different_texts / double(options.samples.size()), 0));
  if (original) result.checks.push_back(at_most("dense_logits", worst_dense, kLogitLimit));
  result.checks.push_back(at_most("flops_counted", prefill.difference() + decode.difference(), 0));
  result.checks.push_back(at_most("kv_counted", kv.difference(), 0));
  result.flops = {
      {"prefill", prefill.json()}, {"decode", decode.json()}, {"prefill_dense_promised", dense_prefill.promised}};
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
  Json json{{"passed", result.passed}, {"checks", checks}, {"flops", result.flops}, {"kv_bytes", result.kv_bytes}};
  if (!result.inputs.empty()) json["inputs"] = result.inputs;
  return json;
}

VerifyResult verify_from_json(const Json& json, const std::string& where) {
  require(json.is_object(), "{}: expected an object, found {}", where, json.type_name());
  VerifyResult result;
  result.passed = get_bool_or(json, "passed", where, false);
  for (const Json& entry : get_array(json, "checks", where)) {
    require(entry.is_object(), "{}: checks: expected objects, found {}", where, entry.type_name());
    VerifyCheck& check = result.checks.emplace_back();
    check.name = get_string(entry, "name", where);
    check.value = has(entry, "value") && entry["value"].is_string() ? std::numeric_limits<double>::infinity()
                                                                    : get_number(entry, "value", where);
    check.limit = get_number(entry, "limit", where);
    check.passed = get_bool_or(entry, "passed", where, false);
  }
  result.flops = get_object(json, "flops", where);
  result.kv_bytes = get_object(json, "kv_bytes", where);
  result.inputs = get_string_or(json, "inputs", where, "");
  return result;
}

}  // namespace yopo
