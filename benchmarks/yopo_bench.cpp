// yopo-bench: what `yopo bench` measures, and the kernels one by one, in a program without Torch that fits into the
// pack for a machine with a GPU (scripts/gpu_pack.sh). Prints JSON.
#include <CLI/CLI.hpp>

#include <cstdio>

#include "benchmarks/device_kernels.h"
#include "core/error.h"
#include "core/progress.h"
#include "runtime/bench.h"
#include "runtime/device.h"
#include "runtime/machine.h"

namespace yopo::bench {
namespace {

/// Bytes that a decode step reads of weights, and how fast that makes it.
Json decode_rate(const runtime::BenchSide& side, double weights, double byte_rate) {
  const double bytes = weights + double(side.kv_bytes);
  return {{"bytes", bytes},
          {"gbytes", side.decode_ms > 0 ? bytes / side.decode_ms * 1e-6 : 0},
          {"of_copy_rate", side.decode_ms > 0 ? bytes / (1e-3 * side.decode_ms) / byte_rate : 0}};
}

Json model(const runtime::BenchOptions& options) {
  const runtime::BenchResult result = runtime::bench(options);
  ModelSpec spec = spec_from_config(read_json(options.config), options.config.string());
  if (options.layers > 0) spec.text.num_hidden_layers = options.layers;
  const double weights = weight_bytes(spec.text, result.dtype == "fp32" ? 4 : 2);
  Json json = runtime::bench_to_json(result);
  json["layers"] = spec.text.num_hidden_layers;
  for (const bool pruned : {false, true})
    json[pruned ? "pruned" : "dense"]["decode"] =
        decode_rate(pruned ? result.pruned : result.dense, weights, result.byte_rate);
  return json;
}

Json kernels(const runtime::Options& run, const std::string& only, double enough) {
  const runtime::Ops& ops = runtime::device_ops(run.device);
  const DType type = dtype_from_name(run.dtype);
  std::string why;
  require(ops.supports(type, &why), "{}: {}", run.dtype, why);
  Json all = Json::array();
  bool found = false;
  for (const KernelSizes& sizes : real_sizes()) {
    if (!only.empty() && only != sizes.model) continue;
    found = true;
    for (Json& one : to_json(time_kernels(ops, type, sizes, enough))) all.push_back(std::move(one));
  }
  require(found, "kernels: no sizes of '{}'", printable(only));
  const runtime::MachineRates rates = runtime::measure_machine(type, ops);
  return {{"device", run.device},
          {"dtype", run.dtype},
          {"flop_rate", rates.flops},
          {"byte_rate", rates.bytes},
          {"kernels", all}};
}

int run(int argc, char** argv) {
  CLI::App app("Times models and kernels on a device; prints JSON");
  app.require_subcommand(1);
  runtime::BenchOptions options;
  options.run.dtype = "bf16", options.run.device = "cuda";
  std::string config, plan, only;
  double enough = 0.05;
  const auto device = [&](CLI::App* command) {
    command->add_option("--device", options.run.device)->capture_default_str();
    command->add_option("--dtype", options.run.dtype)->capture_default_str();
    command->add_option("--threads", options.run.threads);
  };
  CLI::App* of_model = app.add_subcommand("model", "Dense against pruned, random weights");
  of_model->add_option("--config", config, "config.json")->required();
  of_model->add_option("--plan", plan)->required();
  of_model->add_option("--layers", options.layers, "Cut to this many; 0: all");
  of_model->add_option("--visual", options.visual);
  of_model->add_option("--text", options.text);
  of_model->add_option("--batch", options.batch);
  of_model->add_option("--decode-tokens", options.decode_tokens);
  of_model->add_option("--rounds", options.rounds);
  of_model->add_flag("--vision", options.vision, "The vision tower, too");
  device(of_model);
  CLI::App* of_kernels = app.add_subcommand("kernels", "Kernels one by one");
  of_kernels->add_option("--model", only, "At this model's sizes alone");
  of_kernels->add_option("--seconds", enough, "For each")->check(CLI::Range(0.0, 10.0));
  device(of_kernels);
  CLI11_PARSE(app, argc, argv);
  set_quiet(true);
  options.config = config, options.plan = plan;
  const Json json = of_model->parsed() ? model(options) : kernels(options.run, only, enough);
  std::puts(json.dump(1).c_str());
  return 0;
}

}  // namespace
}  // namespace yopo::bench

int main(int argc, char** argv) {
  try {
    return yopo::bench::run(argc, argv);
  } catch (const yopo::UserError& error) {
    std::fprintf(stderr, "yopo-bench: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "yopo-bench: %s\n", error.what());
    return 3;
  }
}
