#include <algorithm>
#include <cmath>
#include <numeric>

#include "calibration/statistics.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "exporters/report.h"
#include "pipeline/samples.h"
#include "pipeline/stages.h"
#include "plans/pruned_config.h"

namespace yopo::cli {

namespace {

struct InspectFlags {
  std::string path, model, plan, budget;
  PromptOptions prompts;
  DatasetFlags dataset;
};

/// The prompts of the flags' samples, or without any those of the recipe that `result` was made by.
Prompts prompts_for(const InspectFlags& flags, const ModelSpec& spec, const fs::path& model, const fs::path& result) {
  if (flags.dataset.questions.empty()) return prompts_of_output(result, spec);
  NamedSamples named{"", choose_samples(read_samples(dataset_of(flags.dataset)), flags.dataset.samples, 0)};
  named.name = fmt::format("{} samples of {}", named.samples.size(), flags.dataset.questions);
  return prompts_of(Processor(open_model(model), flags.prompts), named);
}

int inspect_checkpoint(const InspectFlags& flags, const fs::path& folder, const Context& context) {
  const OpenModel model = open_model(folder);
  const Plan plan = choose_plan(model, false, {}, flags.budget);
  const CheckpointBudgets budgets = budgets_of_checkpoint(model.checkpoint);
  const DecoderSpec& text = model.spec.text;
  const Json summary =
      report(plan, model.spec, prompts_for(flags, model.spec, folder, folder), running_type(model.spec));
  Json facts = {{"layout", model.spec.layout},
                {"dtype", short_name(model.spec.dtype)},
                {"num_hidden_layers", text.num_hidden_layers},
                {"hidden_size", text.hidden_size},
                {"num_attention_heads", text.num_attention_heads},
                {"num_key_value_heads", text.num_key_value_heads},
                {"intermediate_size", text.intermediate_size},
                {"vocab_size", text.vocab_size},
                {"visual_tokens", model.spec.nominal_grid() * model.spec.nominal_grid()},
                {"tensors", model.checkpoint.tensors().size()},
                {"pruned", !is_dense(plan, text)},
                {"fingerprint", model.checkpoint.fingerprint()}};
  if (!budgets.names.empty()) facts["budgets"] = budgets.names, facts["default_budget"] = budgets.fallback;
  if (context.json) {
    print_json({{"model", facts}, {"report", summary}});
    return 0;
  }
  for (const auto& [name, value] : facts.items())
    print(fmt::format("{:<20} {}\n", name, value.is_string() ? value.get<std::string>() : value.dump()));
  print("\n" + report_text(summary));
  return 0;
}

int inspect_plan(const InspectFlags& flags, const fs::path& file, const std::string& model, const Context& context) {
  const Plan plan = read_plan(file);
  need(!model.empty(), "inspect", "a plan alone does not know its model: give --model");
  const ModelSpec spec = spec_of(model);
  check_plan(plan, spec.text, file.string());
  const Json summary = report(plan, spec, prompts_for(flags, spec, model, file), running_type(spec));
  if (context.json)
    print_json({{"report", summary}});
  else
    print(report_text(summary));
  return 0;
}

/// "5 2 7": the heads of the least ratios, the first the least.
std::string least_heads(const Json& ratios) {
  constexpr size_t kShown = 4;
  std::vector<size_t> heads(ratios.size());
  std::iota(heads.begin(), heads.end(), size_t(0));
  std::stable_sort(heads.begin(), heads.end(),
                   [&](size_t a, size_t b) { return ratios[a].get<double>() < ratios[b].get<double>(); });
  heads.resize(std::min(heads.size(), kShown));
  return fmt::format("{}", fmt::join(heads, " "));
}

int inspect_statistics(const fs::path& file, const Context& context) {
  const Statistics statistics = read_statistics(file);
  const int64_t L = statistics.layers, H = statistics.heads, S = statistics.samples();
  Json mean = Json::array();
  std::vector<std::vector<std::string>> rows{
      {"layer", "least ratio", "mean ratio", "greatest ratio", "heads that look least"}};
  for (int64_t l = 0; l < L; ++l) {
    double low = INFINITY, high = -INFINITY, sum = 0;
    Json heads = Json::array();
    for (int64_t h = 0; h < H; ++h) {
      double value = 0;
      for (int64_t s = 0; s < S; ++s) value += statistics.ratio[(s * L + l) * H + h] / double(S);
      low = std::min(low, value);
      high = std::max(high, value);
      sum += value / double(H);
      heads.push_back(value);
    }
    mean.push_back(heads);
    rows.push_back({std::to_string(l), fmt::format("{:.4f}", low), fmt::format("{:.4f}", sum),
                    fmt::format("{:.4f}", high), least_heads(heads)});
  }
  const Json facts = {{"samples", S},
                      {"layers", L},
                      {"heads", H},
                      {"intermediate_size", statistics.intermediate_size},
                      {"queries", name_of(statistics.queries)},
                      {"fingerprint", statistics.fingerprint}};
  if (context.json) {
    print_json({{"statistics", facts}, {"mean_ratio", mean}});
    return 0;
  }
  for (const auto& [name, value] : facts.items())
    print(fmt::format("{:<20} {}\n", name, value.is_string() ? value.get<std::string>() : value.dump()));
  print("\nVisual attention over text attention, by layer (mean over samples, over heads):\n" + format_table(rows));
  return 0;
}

/// What else there is in a run's folder, JSON of another kind, masks: UserError saying what can be shown.
[[noreturn]] void fail_unknown(const fs::path& path) {
  const fs::path exported = path / "pruned";
  fail("{}: expected a checkpoint folder, plan.json or stats.h5{}", path.string(),
       fs::exists(exported / "config.json") ? "; did you mean " + exported.string() + "?" : "");
}

bool is_plan(const fs::path& file) {
  const Json json = read_json(file);
  return json.is_object() && json.value("format", Json()) == "yopo-plan";
}

}  // namespace

void add_inspect(CLI::App& app, Context& context) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* command =
      add_command(app, context, Runs::Nothing, "inspect", "What is in a checkpoint, a plan or a statistics file",
                  "yopo inspect out/demo/pruned");
  command->add_option("path", flags->path, "Checkpoint folder, plan.json or stats.h5")->required();
  command->add_option("--model", flags->model, "The plan's model (config.json suffices)");
  add_budget_flag(command, flags->budget);
  command->add_option("--plan", flags->plan, "Show this plan on the model at PATH (config.json suffices)");
  add_dataset_flags(command, flags->dataset, false);
  add_prompt_flags(command, flags->prompts);
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      const fs::path path = flags->path;
      require(fs::exists(path), "{}: no such file or folder", path.string());
      if (!flags->plan.empty()) {
        need(flags->model.empty(), "inspect", "give the plan's model as PATH or as --model, not both");
        return inspect_plan(*flags, flags->plan, flags->path, context);
      }
      if (fs::is_directory(path)) {
        if (!fs::exists(path / "config.json")) fail_unknown(path);
        return inspect_checkpoint(*flags, path, context);
      }
      if (path.extension() == ".json") {
        if (!is_plan(path)) fail_unknown(path);
        return inspect_plan(*flags, path, flags->model, context);
      }
      if (path.extension() == ".npy") fail_unknown(path);
      return inspect_statistics(path, context);
    };
  });
}

}  // namespace yopo::cli
