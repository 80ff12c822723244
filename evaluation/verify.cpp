#include "evaluation/verify.h"

#include <cmath>
#include <limits>

#include "compress/cost.h"
#include "compress/pruned_config.h"
#include "core/progress.h"
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

VerifyResult verify(const OpenModel& pruned, const VerifyOptions& options) {
  require(!options.samples.empty(), "verify: no samples");
  const DecoderSpec& spec = pruned.spec.text;
  const std::optional<Plan> stored = plan_of_checkpoint(pruned.checkpoint, spec);
  const Plan dense = dense_plan(spec);
  const Plan plan = stored.value_or(dense);
  runtime::Options run;
  run.dtype = "fp32";  // the proof is of the arithmetic, not of a dtype's rounding
  run.threads = options.threads;
  run.memory = options.memory;
  run.device = options.device;
  const runtime::Engine runtime(pruned, plan, run);
  const TorchEngine torch(pruned, {"fp32", options.threads});
  const Processor processor(pruned);

  std::optional<OpenModel> original;
  std::optional<runtime::Engine> original_dense, reordered_dense;
  if (!options.original.empty()) {
    original.emplace(open_model(options.original));
    original_dense.emplace(*original, dense, run);
    reordered_dense.emplace(pruned, dense, run);
  }

  double worst_logits = 0, worst_hidden = 0, worst_dense = 0, different_texts = 0;
  Account prefill, decode, kv, dense_prefill;
  double dense_kv = 0;
  Progress progress("verifying", int64_t(options.samples.size()), "samples");
  for (const Sample& sample : options.samples) {
    const ModelInput input = processor.prepare(sample);
    const PromptShape shape = shape_of(input);
    TraceOptions rows;  // all logits, all hidden rows
    const Trace expected = torch.trace(input, plan, rows);
    const Trace actual = runtime.trace(input, rows);
    worst_logits = std::max(worst_logits, relative_difference(actual.logits, expected.logits));
    worst_hidden = std::max(worst_hidden, relative_difference(actual.hidden, expected.hidden));

    runtime::Counters& counters = runtime.counters();
    counters = {};
    {
      const auto session = runtime.prefill({input}, 0);
      kv.counted += double(counters.kv_bytes);
      prefill.counted += counters.prefill.flops();
    }
    kv.promised += double(kv_bytes(plan, spec, shape, 0, int64_t(size_of(runtime.dtype()))));
    dense_kv += double(kv_bytes(dense, spec, shape, 0, int64_t(size_of(runtime.dtype()))));
    prefill.promised += prefill_cost(plan, spec, shape).flops();
    dense_prefill.promised += prefill_cost(dense, spec, shape).flops();

    counters = {};
    const std::vector<runtime::Generated> generated = runtime.generate({input}, options.max_new_tokens);
    const std::vector<std::vector<int64_t>> reference = torch.generate({input}, plan, options.max_new_tokens);
    if (generated.at(0).tokens != reference.at(0)) ++different_texts;
    decode.counted += counters.decode.flops();
    for (int64_t step = 0; step < counters.decode_tokens; ++step)
      decode.promised += decode_cost(plan, spec, shape, step).flops();

    if (original) {
      TraceOptions last;
      last.hidden = false;
      worst_dense = std::max(worst_dense, relative_difference(reordered_dense->trace(input, last).logits,
                                                              original_dense->trace(input, last).logits));
    }
    progress.tick();
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
