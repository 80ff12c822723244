#include "cli/command.h"
#include "cli/output.h"
#include "core/writable.h"
#include "pipeline/stages.h"
#include "reference/engine.h"

namespace yopo::cli {

namespace {

struct TraceFlags {
  std::string model, plan, budget, inputs, engine = "runtime", device = "cpu", dtype = "fp32", output;
  std::vector<int64_t> decode;
  bool dense = false;
};

std::vector<float> to_floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

int trace_command(const TraceFlags& flags, const Context& context) {
  check_writable(flags.output);
  const OpenModel model = open_model(flags.model);
  const Plan plan = choose_plan(model, flags.dense, flags.plan, flags.budget);
  const ModelInput input = read_input(model.spec, flags.inputs);
  for (int64_t token : flags.decode)
    require(token >= 0 && token < model.spec.text.vocab_size, "--decode: token {} lies outside the vocabulary of {}",
            token, model.spec.text.vocab_size);
  TraceOptions options;
  options.decode = flags.decode;
  Trace trace;
  if (flags.engine == "torch") {
    require(flags.device == "cpu", "--device: the torch engine runs on cpu, found '{}'", flags.device);
    options.statistics = true;
    trace = TorchEngine(model, {flags.dtype, context.threads, context.settings().memory}).trace(input, plan, options);
  } else {
    trace = runtime::Engine(model, plan, engine_options(context.settings(), flags.dtype, flags.device))
                .trace(input, options);
  }
  const int64_t L = trace.layers, T = trace.length, V = trace.vocab_size, C = trace.hidden_size,
                n = int64_t(flags.decode.size());
  std::map<std::string, OwnedTensor> tensors;
  tensors["hidden"] = OwnedTensor::of({L + 1, T, C}, trace.hidden);
  tensors["logits"] = OwnedTensor::of({T, V}, trace.logits);
  if (n > 0) tensors["decode_logits"] = OwnedTensor::of({n, V}, trace.decode_logits);
  const auto add = [&](const char* name, const std::vector<double>& values, int64_t columns) {
    if (!values.empty()) tensors[name] = OwnedTensor::of({L, columns}, to_floats(values));
  };
  add("ratio_prefill", trace.ratio_prefill, trace.heads);
  add("ratio_text", trace.ratio_text, trace.heads);
  add("ratio_decode", trace.ratio_decode, trace.heads);
  add("ffn_abs_mean", trace.ffn_abs_mean, trace.intermediate_size);
  write_safetensors(flags.output, tensors);
  if (context.json)
    print_json({{"output", flags.output}, {"layers", L}, {"tokens", T}, {"decoded", n}});
  else
    print(fmt::format("{}: {} layers, {} tokens, {} decoded\n", escaped(flags.output), L, T, n));
  return 0;
}

}  // namespace

void add_trace(CLI::App& app, Context& context) {
  auto flags = std::make_shared<TraceFlags>();
  CLI::App* command = add_command(
      app, context, Runs::Model, "trace", "Run one sample from ready tensors and write hidden states and logits",
      "yopo trace --model DIR --plan plan.json --inputs inputs.safetensors --engine runtime --decode 3,14,15 \\\n"
      "      --output out.safetensors");
  command->add_option("--model", flags->model, "Checkpoint folder")->required();
  command->add_option("--plan", flags->plan, "Plan to run under (default: the checkpoint's own)");
  command->add_flag("--dense", flags->dense, "Run a pruned checkpoint whole");
  add_budget_flag(command, flags->budget);
  command
      ->add_option("--inputs", flags->inputs, "input_ids, pixel_values, position_ids; or embeds, spans, position_ids")
      ->required();
  command->add_option("--engine", flags->engine, "torch or runtime")
      ->check(one_of({"torch", "runtime"}))
      ->capture_default_str();
  command->add_option("--device", flags->device, "cpu, cuda or cuda:N")->check(device_name())->capture_default_str();
  command->add_option("--dtype", flags->dtype, "fp32, bf16 or auto")->check(dtype_name())->capture_default_str();
  command->add_option("--decode", flags->decode, "Tokens to decode one by one after the prompt")->delimiter(',');
  command->add_option("--output", flags->output, "safetensors file to write")->required();
  command->callback([flags, &context] { context.run = [flags, &context] { return trace_command(*flags, context); }; });
}

}  // namespace yopo::cli
