#include "runtime/bench.h"

#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "pipeline/stages.h"

namespace yopo::cli {

namespace {

/// The whole table into the file; the products of its most rows are shown.
int write_times(const runtime::BenchOptions& options, const fs::path& file, bool json) {
  const TimeTable times = runtime::bench_times(options);
  write_json(file, times_to_json(times));
  if (json) {
    print_json(times_to_json(times));
    return 0;
  }
  const size_t widths = times.widths.size(), last = times.rows.size() - 1;
  std::vector<std::vector<std::string>> lines{{"width", "rows", "out ms", "in ms", "GFLOP/s"}};
  for (size_t w = 0; w < widths; ++w) {
    const double out = times.out[last * widths + w], in = times.in[last * widths + w];
    const double flops = 4e-6 * double(times.rows[last]) * double(times.widths[w]) * double(times.hidden_size);
    lines.push_back({std::to_string(times.widths[w]), std::to_string(times.rows[last]), fmt::format("{:.4g}", out),
                     fmt::format("{:.4g}", in), out + in > 0 ? fmt::format("{:.4g}", flops / (out + in)) : "-"});
  }
  print(
      fmt::format("{}\n{}: {} rows x {} widths; whole layers take {:.3f} of the sum of their parts, the rest of a "
                  "prefill {:.3g} ms\n",
                  format_table(lines), file.string(), times.rows.size(), widths, times.layer_scale, times.fixed));
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  auto flags = std::make_shared<runtime::BenchOptions>();
  flags->run.dtype = "bf16";
  struct Paths {
    std::string model, config, plan, table;
  };
  auto paths = std::make_shared<Paths>();
  CLI::App* command =
      add_command(app, context, Runs::Model, "bench", "Time dense against pruned, interleaved in one process",
                  "yopo bench --config configs/models/llava-1.5-7b.json --layers 2 --plan plan.json \\\n"
                  "      --visual 576 --text 64 --dtype bf16 --json");
  command->add_option("--model", paths->model, "Checkpoint folder");
  command->add_option("--config", paths->config, "A config.json: random weights of that architecture");
  command->add_option("--layers", flags->layers, "Cut to this many decoder layers (0: all)")
      ->check(whole_number(0, "all"))
      ->capture_default_str();
  command->add_option("--plan", paths->plan, "Plan of the pruned side (default: the checkpoint's own)");
  add_budget_flag(command, flags->budget);
  command->add_option("--table", paths->table,
                      "Write times of the layers' products here, for budgets of milliseconds, and time no plan");
  command->add_option("--visual", flags->visual, "Visual tokens of a prompt, laid out as square as they go")
      ->check(whole_number(0))
      ->capture_default_str();
  command->add_option("--text", flags->text, "Text tokens of a prompt")->check(whole_number(1))->capture_default_str();
  command->add_option("--batch", flags->batch, "Prompts at once")->check(whole_number(1))->capture_default_str();
  command->add_option("--decode-tokens", flags->decode_tokens, "Decode steps timed")
      ->check(whole_number(0))
      ->capture_default_str();
  command->add_option("--rounds", flags->rounds, "Interleaved repetitions")
      ->check(whole_number(1))
      ->capture_default_str();
  command->add_flag("--vision", flags->vision, "Time the vision tower, too, over random pictures");
  command->add_option("--device", flags->run.device, "cpu, cuda or cuda:N")->check(device_name());
  command->add_option("--dtype", flags->run.dtype, "bf16, fp32, or on a GPU fp16")
      ->check(dtype_name())
      ->capture_default_str();
  command->add_option("--seed", flags->seed, "Of the random weights")->check(whole_number(0))->capture_default_str();
  command->callback([flags, paths, &context] {
    context.run = [flags, paths, &context] {
      runtime::BenchOptions options = *flags;
      need(paths->model.empty() != paths->config.empty(), "bench", "give either --model or --config");
      options.model = paths->model;
      options.config = paths->config;
      options.plan = paths->plan;
      options.run = engine_options(context.settings(), options.run.dtype, options.run.device);
      if (!paths->table.empty()) {
        need(paths->plan.empty() && options.budget.empty(), "bench",
             "--table times no plan: leave out --plan and --budget");
        return write_times(options, paths->table, context.json);
      }
      const runtime::BenchResult result = runtime::bench(options);
      if (context.json) {
        print_json(runtime::bench_to_json(result));
        return 0;
      }
      const auto side = [](const std::string& name, const runtime::BenchSide& s) {
        return std::vector<std::string>{name,
                                        fmt::format("{:.2f} +- {:.2f}", s.prefill_ms, s.prefill_spread_ms),
                                        fmt::format("{:.3f} +- {:.3f}", s.decode_ms, s.decode_spread_ms),
                                        fmt::format("{:.4g}", s.flops),
                                        fmt::format("{:.4g}", s.flops_promised),
                                        std::to_string(s.kv_bytes),
                                        std::to_string(s.kv_bytes_promised),
                                        fmt::format("{:.1f}", double(s.peak_bytes) / 1e6)};
      };
      std::string vision;
      if (result.pictures > 0)
        vision = fmt::format("vision tower {:.2f} +- {:.2f} ms, {} pictures, {} visual tokens\n", result.vision_ms,
                             result.vision_spread_ms, result.pictures, result.vision_tokens);
      print(fmt::format(
          "{}\nspeed-up {:.3f}, FLOPs ratio {:.3f}, roofline ratio {:.3f}, efficiency {:.3f}\n"
          "products one by one: roofline {:.2f} and {:.2f} ms, ratio {:.3f}, efficiency {:.3f}\n{}",
          format_table(
              {{"", "prefill ms", "decode ms", "FLOPs counted", "promised", "KV bytes counted", "promised", "peak MB"},
               side("dense", result.dense),
               side("pruned", result.pruned)}),
          result.speedup, result.flops_ratio, result.roofline_ratio, result.efficiency,
          result.dense.products_roofline_ms, result.pruned.products_roofline_ms, result.products_roofline_ratio,
          result.products_efficiency, vision));
      return 0;
    };
  });
}

}  // namespace yopo::cli
