#include "runtime/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/error.h"
#include "core/memory.h"
#include "core/progress.h"
#include "plans/provenance.h"
#include "plans/pruned_config.h"
#include "runtime/device.h"
#include "runtime/machine.h"
#include "runtime/measure_times.h"
#include "runtime/random_input.h"
#include "runtime/state.h"

namespace yopo::runtime {
namespace {

/// By the device's own clock where it has one, else by the wall clock.
double seconds_of(const Ops& ops, const std::function<void()>& work) {
  if (ops.seconds_of) return ops.seconds_of(work);
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The value below which `share` of the values lie, between neighbours linearly.
double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = share * double(values.size() - 1);
  const size_t low = size_t(at), high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - double(low)) * (values[high] - values[low]);
}
double median(const std::vector<double>& values) { return quantile(values, 0.5); }
double spread(const std::vector<double>& values) { return quantile(values, 0.75) - quantile(values, 0.25); }

/// A plan's first `layers` layers.
Plan cut_plan(Plan plan, int64_t layers) {
  if (int64_t(plan.layers.size()) > layers) plan.layers.resize(size_t(layers));
  return plan;
}

struct Side {
  const Engine& engine;
  const Ops& ops;
  BenchSide& result;
  std::vector<double> prefill_ms, decode_ms, attention_ms;

  void round(const std::vector<ModelInput>& inputs, int64_t decode_tokens, bool counts) {
    Counters& counters = engine.counters();
    counters = {};
    engine.take_peak_bytes();
    std::unique_ptr<Session, void (*)(Session*)> session(nullptr, [](Session*) {});
    const double prefill = seconds_of(ops, [&] { session = engine.prefill(inputs, decode_tokens); });
    const double attention = counters.attention_seconds;
    result.flops = counters.prefill.flops();
    result.pairs = counters.prefill.attention / (2.0 * double(engine.spec().text.head_dim));
    result.kv_bytes = counters.kv_bytes;
    result.activation_bytes = engine.take_peak_bytes();
    std::vector<int64_t> all(inputs.size()), tokens(inputs.size(), 1);
    for (size_t i = 0; i < all.size(); ++i) all[i] = int64_t(i);
    const double decode = seconds_of(ops, [&] {
      for (int64_t step = 0; step < decode_tokens; ++step) engine.decode(*session, all, tokens);
    });
    if (!counts) return;
    prefill_ms.push_back(1e3 * prefill);
    attention_ms.push_back(1e3 * attention);
    if (decode_tokens > 0) decode_ms.push_back(1e3 * decode / double(decode_tokens));
  }
  void finish(const DecoderSpec& spec, const PromptShape& prompt, int64_t batch) {
    const int64_t element = int64_t(size_of(engine.dtype()));
    result.prefill_ms = median(prefill_ms), result.prefill_spread_ms = spread(prefill_ms);
    result.decode_ms = median(decode_ms), result.decode_spread_ms = spread(decode_ms);
    result.attention_ms = median(attention_ms);
    result.flops_promised = double(batch) * prefill_cost(engine.plan(), spec, prompt).flops();
    result.kv_bytes_promised = batch * kv_bytes(engine.plan(), spec, prompt, 0, element);
    result.peak_bytes = result.activation_bytes + int64_t(weight_bytes(spec, element));
  }
};

/// The engine under the plan asked for, or the dense one over weights of its own.
Engine open_engine(const BenchOptions& options, bool dense) {
  const bool random = options.model.empty();
  require(random != options.config.empty(),
          "bench: give either a checkpoint folder (--model) or a config.json (--config)");
  const auto cut = [&](ModelSpec& spec) {
    require(options.layers >= 0 && options.layers <= spec.text.num_hidden_layers,
            "bench: layers: expected 0 to {}, found {}", spec.text.num_hidden_layers, options.layers);
    if (options.layers > 0) spec.text.num_hidden_layers = options.layers;
  };
  if (random) {
    require(!options.plan.empty(), "bench: --config needs --plan");
    ModelSpec spec = spec_from_config(read_json(options.config), options.config.string());
    cut(spec);
    const Plan plan = cut_plan(read_plan(options.plan), spec.text.num_hidden_layers);
    return Engine(spec, dense ? dense_plan(spec.text) : plan, options.run, options.seed, options.vision);
  }
  OpenModel model = open_model(options.model);
  require(options.budget.empty() || options.plan.empty(), "bench: --budget and --plan exclude each other");
  std::optional<Plan> plan;
  if (options.plan.empty())
    plan = plan_of_checkpoint(model.checkpoint, model.spec.text, options.budget);
  else
    check_made_for(plan.emplace(read_plan(options.plan)), model.checkpoint, model.spec.text, options.plan.string());
  require(plan.has_value(), "bench: {} is no pruned checkpoint; give --plan", options.model.string());
  cut(model.spec);
  return Engine(model, dense ? dense_plan(model.spec.text) : cut_plan(*plan, model.spec.text.num_hidden_layers),
                options.run);
}

/// Weights packed for the plan serve the dense model, too, but in more products than its own: where there is room the
/// dense side gets weights of its own.
Engine dense_beside(const Engine& pruned, const BenchOptions& options) {
  const int64_t bytes = int64_t(weight_bytes(pruned.spec().text, int64_t(size_of(pruned.dtype()))));
  const bool room = device_ops(options.run).host_memory && options.run.memory == 0 && memory_limit(0, 2 * bytes) == 0;
  return options.run.pack && room ? open_engine(options, true) : pruned.dense();
}

/// Prompts with random pictures of about as many visual tokens, through the tower alone as far as the clock goes: of a
/// prefill, what it says of its vision tower.
void time_vision(const Engine& engine, const ModelInput& input, const BenchOptions& options, BenchResult& result) {
  const std::vector<ModelInput> inputs(size_t(options.batch), input);
  std::vector<double> times;
  for (int64_t round = 0; round <= options.rounds; ++round) {
    engine.counters() = {};
    engine.prefill(inputs, 0);
    if (round > 0) times.push_back(1e3 * engine.counters().vision_seconds);
  }
  result.vision_ms = median(times), result.vision_spread_ms = spread(times);
  result.pictures = int64_t(inputs.size()) * input.images;
  result.vision_tokens = int64_t(inputs.size()) * input.visual_tokens();
}

}  // namespace

BenchResult bench(const BenchOptions& options) {
  require(options.visual >= 0 && options.visual <= 1 << 20, "bench: visual: expected 0 to {}, found {}", 1 << 20,
          options.visual);
  require(options.text >= 1 && options.text <= 1 << 20, "bench: text: expected 1 to {}, found {}", 1 << 20,
          options.text);
  require(options.batch >= 1 && options.batch <= 4096, "bench: batch: expected 1 to 4096, found {}", options.batch);
  require(options.rounds >= 1 && options.decode_tokens >= 0,
          "bench: at least one round, and no negative number of tokens");
  const Engine pruned = open_engine(options, false);
  std::optional<ModelInput> pictured;  // what cannot be timed is said before anything is
  if (options.vision) pictured = pictured_input(pruned.spec(), options.visual, options.text, options.seed + 1);
  const Engine dense = dense_beside(pruned, options);
  const DecoderSpec& spec = pruned.spec().text;
  const PromptShape prompt = square_prompt(options.visual, options.text);
  std::vector<ModelInput> inputs;
  for (int64_t i = 0; i < options.batch; ++i)
    inputs.push_back(random_input(prompt, pruned.spec(), options.seed + uint64_t(i) + 1));

  BenchResult result;
  result.dtype = short_name(pruned.dtype());
  result.device = options.run.device;
  {
    const ThreadCount threads(options.run.threads);
    const MachineRates rates = measure_machine(pruned.dtype(), device_ops(options.run));
    result.flop_rate = rates.flops, result.byte_rate = rates.bytes;
  }
  const Ops& ops = device_ops(options.run);
  result.clock = ops.seconds_of ? "device" : "wall";
  Side sides[2] = {{dense, ops, result.dense, {}, {}, {}}, {pruned, ops, result.pruned, {}, {}, {}}};
  Progress progress("bench", options.rounds + 1, "rounds");
  for (int64_t round = 0; round <= options.rounds; ++round) {
    for (Side& side : sides) side.round(inputs, options.decode_tokens, round > 0);  // the first warms up
    progress.tick();
  }
  progress.finish();
  for (Side& side : sides) side.finish(spec, prompt, options.batch);

  std::vector<double> ratios;
  for (size_t i = 0; i < sides[0].prefill_ms.size(); ++i)
    ratios.push_back(sides[0].prefill_ms[i] / sides[1].prefill_ms[i]);
  const int64_t element = int64_t(size_of(pruned.dtype()));
  for (const Side& side : sides) {
    const auto of = [&](auto roofline) {
      return 1e3 *
             roofline(side.engine.plan(), spec, prompt, options.batch, element, result.flop_rate, result.byte_rate);
    };
    side.result.roofline_ms = of(roofline_seconds);
    side.result.products_roofline_ms = of(roofline_seconds_one_by_one);
  }
  result.speedup = median(ratios);
  result.flops_ratio = result.dense.flops / result.pruned.flops;
  result.roofline_ratio = result.dense.roofline_ms / result.pruned.roofline_ms;
  result.efficiency = result.speedup / result.roofline_ratio;
  result.products_roofline_ratio = result.dense.products_roofline_ms / result.pruned.products_roofline_ms;
  result.products_efficiency = result.speedup / result.products_roofline_ratio;
  if (pictured) time_vision(pruned, *pictured, options, result);
  return result;
}

TimeTable bench_times(const BenchOptions& options) {
  require(options.model.empty() != options.config.empty(),
          "bench: give either a checkpoint folder (--model) or a config.json (--config)");
  const ModelSpec spec = options.model.empty() ? spec_from_config(read_json(options.config), options.config.string())
                                               : open_model(options.model).spec;
  return measure_times(spec, options.visual, options.text, options.run);
}

Json bench_to_json(const BenchResult& result) {
  const auto side = [](const BenchSide& s) {
    return Json{{"prefill_ms", s.prefill_ms},
                {"prefill_spread_ms", s.prefill_spread_ms},
                {"attention_ms", s.attention_ms},
                {"pairs", s.pairs},
                {"decode_ms", s.decode_ms},
                {"decode_spread_ms", s.decode_spread_ms},
                {"flops", s.flops},
                {"flops_promised", s.flops_promised},
                {"kv_bytes", s.kv_bytes},
                {"kv_bytes_promised", s.kv_bytes_promised},
                {"peak_bytes", s.peak_bytes},
                {"activation_bytes", s.activation_bytes},
                {"roofline_ms", s.roofline_ms},
                {"products_roofline_ms", s.products_roofline_ms}};
  };
  Json json{{"dense", side(result.dense)},
            {"pruned", side(result.pruned)},
            {"speedup", result.speedup},
            {"flops_ratio", result.flops_ratio},
            {"roofline_ratio", result.roofline_ratio},
            {"efficiency", result.efficiency},
            {"products_roofline_ratio", result.products_roofline_ratio},
            {"products_efficiency", result.products_efficiency},
            {"flop_rate", result.flop_rate},
            {"byte_rate", result.byte_rate},
            {"dtype", result.dtype},
            {"device", result.device},
            {"clock", result.clock}};
  if (result.pictures > 0)
    json["vision"] = {{"ms", result.vision_ms},
                      {"spread_ms", result.vision_spread_ms},
                      {"pictures", result.pictures},
                      {"tokens", result.vision_tokens}};
  return json;
}

}  // namespace yopo::runtime
