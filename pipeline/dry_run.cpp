#include "pipeline/dry_run.h"

#include <algorithm>

#include "compress/make_plan.h"
#include "core/error.h"
#include "exporters/export.h"
#include "models/prompt_template.h"
#include "models/tensors.h"
#include "pipeline/memory_needed.h"
#include "pipeline/samples.h"

namespace yopo {

namespace {

/// What would stop the run: a device that is not there, what cannot be exported, and what the readers of the recipe's
/// chat template and questions complain of. `samples` becomes the number of those that calibration will use where they
/// can be read.
Json problems_of(const Recipe& recipe, const ModelSpec& spec, int64_t& samples) {
  Json problems = Json::array();
  const auto check = [&](const auto& read) {
    try {
      read();
    } catch (const UserError& error) {
      const std::string text = error.what();
      if (std::find(problems.begin(), problems.end(), text) == problems.end()) problems.push_back(text);
    }
  };
  check([&] { (void)prompt_template(recipe.model, spec, recipe.chat_template); });
  check([&] { (void)resolve_device(recipe.device); });
  const fs::path config = config_file(recipe.model);
  const std::string semantics = recipe.plan.value_or(PlanOptions()).semantics;
  check([&] { check_exportable(read_json(config), recipe.model.string(), parse_semantics(semantics, "plan")); });
  if (recipe.calibration)
    check([&] {
      const int64_t there = int64_t(read_samples(recipe.calibration->dataset).size());
      samples = samples > 0 ? std::min(samples, there) : there;
    });
  for (const EvaluateOptions& options : recipe.evaluate) check([&] { (void)open_benchmark(options, true); });
  return problems;
}

Json costs(const Json& pair) {
  return {{"dense", pair.at("dense")}, {"pruned", pair.at("plan")}, {"fraction", pair.at("kept")}};
}

}  // namespace

Json dry_run(const Recipe& recipe, const RunSettings& settings) {
  const ModelSpec spec = spec_of(recipe.model);
  const DecoderSpec& text = spec.text;
  const SizedPlan sized =
      sized_plan(recipe.plan.value_or(PlanOptions{}), text, fmt::format("{}: plan", recipe.file.string()));
  const Prompts prompts = figure_prompts(recipe, spec);
  const Json figures = report(sized.plan, spec, prompts);
  int64_t parameters = 0, longest = 0;
  for (const StoredTensor& tensor : stored_tensors(spec)) parameters += element_count(tensor.shape, tensor.name);
  for (const PromptShape& shape : prompts.shapes) longest = std::max(longest, shape.length);
  int64_t samples = recipe.calibration ? recipe.calibration->dataset.samples : 0;
  const Json problems = problems_of(recipe, spec, samples);
  const double statistics = 8.0 * double(text.num_hidden_layers) *
                            (double(samples) * double(text.num_attention_heads) + 4.0 * double(text.intermediate_size));
  const MemoryNeeded memory = memory_needed(recipe, spec, settings, longest);
  return {{"settings", recipe.resolved()},
          {"parameters", parameters},
          {"plan_known", sized.known},
          {"plan_spread", sized.spread},
          {"prompt", figures.at("prompt")},
          {"flops",
           {{"paper", costs(figures.at("flops").at("paper_visual"))},
            {"exact", costs(figures.at("flops").at("exact_visual"))},
            {"prefill", costs(figures.at("flops").at("exact_prefill"))}}},
          {"kv_bytes", costs(figures.at("kv_bytes"))},
          {"memory_bytes",
           {{"calibrate", memory.calibrate},
            {"verify", memory.verify},
            {"limit", memory.limit},
            {"calibrate_streams", memory.calibrate_streams},
            {"verify_streams", memory.verify_streams}}},
          {"disk_bytes", {{"statistics", statistics}, {"pruned", parameters * int64_t(size_of(spec.dtype))}}},
          {"problems", problems}};
}

std::string dry_run_text(const Json& dry_run) {
  const auto at = [&](const char* pointer) -> const Json& { return dry_run.at(Json::json_pointer(pointer)); };
  const auto size = [&](const char* pointer) { return scaled(at(pointer).get<double>()) + "B"; };
  std::string text = dry_run["settings"].get<std::string>() + "\n";
  text += fmt::format("parameters           {:.3g} million\n", at("/parameters").get<double>() / 1e6);
  text += fmt::format("figures below        {}: {:.4g} text and {:.4g} visual tokens\n",
                      at("/prompt/name").get<std::string>(), at("/prompt/text").get<double>(),
                      at("/prompt/visual").get<double>());
  const auto line = [&](const char* name, const std::string& pointer, const char* unit) {
    const Json& pair = at(pointer.c_str());
    text += fmt::format(
        "{:<20} {}{} dense, {}{} pruned{}\n", name, scaled(pair.at("dense").get<double>()), unit,
        scaled(pair.at("pruned").get<double>()), unit,
        pair.at("fraction").is_null() ? "" : fmt::format(" ({:.1f} %)", 100 * pair.at("fraction").get<double>()));
  };
  line("visual FLOPs, paper", "/flops/paper", "FLOP");
  line("visual FLOPs, exact", "/flops/exact", "FLOP");
  line("prefill, text incl.", "/flops/prefill", "FLOP");
  line("KV cache", "/kv_bytes", "B");
  if (!dry_run["plan_known"].get<bool>())
    text += "                     (heads chosen by threshold count as all kept until calibration)\n";
  if (dry_run["plan_spread"].get<bool>())
    text += "                     (what is kept across the model counts as spread evenly until calibration)\n";
  const auto memory = [&](const char* stage) {
    const std::string pointer = std::string("/memory_bytes/") + stage;
    return size(pointer.c_str()) + (at((pointer + "_streams").c_str()).get<bool>() ? " (layers streamed)" : "");
  };
  text += fmt::format("memory               about {} to calibrate, {} to verify, within {}\n", memory("calibrate"),
                      memory("verify"), size("/memory_bytes/limit"));
  text += fmt::format("disk                 about {} for the pruned checkpoint, {} for the statistics\n",
                      size("/disk_bytes/pruned"), size("/disk_bytes/statistics"));
  for (const Json& problem : dry_run["problems"]) text += "problem: " + problem.get<std::string>() + "\n";
  return text;
}

}  // namespace yopo
