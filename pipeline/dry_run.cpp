#include "pipeline/dry_run.h"

#include <algorithm>
#include <optional>

#include "compress/make_plan.h"
#include "core/error.h"
#include "datasets/check_images.h"
#include "exporters/export.h"
#include "exporters/transformers_code.h"
#include "models/prompt_template.h"
#include "models/tensors.h"
#include "pipeline/memory_needed.h"
#include "pipeline/samples.h"

namespace yopo {

namespace {

constexpr size_t kImagesRead = 1000;  // of a question file: a dry run takes seconds

/// What would stop the run, and of how many images that is known.
struct Checked {
  Json problems = Json::array();
  size_t images = 0, read = 0;

  void add(const std::string& problem) {
    if (std::find(problems.begin(), problems.end(), problem) == problems.end()) problems.push_back(problem);
  }
};

/// Whatever would stop the run. `samples` becomes the number of those that calibration will use where they can be read.
Checked check_recipe(const Recipe& recipe, const ModelSpec& spec, int64_t& samples) {
  Checked checked;
  const auto check = [&](const auto& action) {
    try {
      action();
    } catch (const UserError& error) {
      checked.add(error.what());
    }
  };
  const auto check_samples = [&](const DatasetOptions& dataset, const auto& read) {
    const std::vector<std::string> missing = missing_paths(dataset);
    for (const std::string& problem : missing) checked.add(problem);
    if (!missing.empty()) return;
    check([&] {
      const ImageCheck images = check_images(read(), kImagesRead);
      checked.images += images.there;
      checked.read += images.read;
      if (images.damaged > 0)
        checked.add(images.first + (images.damaged == 1 ? "" : fmt::format(" (and {} more)", images.damaged - 1)));
    });
  };
  check([&] { (void)prompt_template(recipe.model, spec, recipe.prompts.chat_template); });
  check([&] { (void)resolve_device(recipe.device); });
  const fs::path config = config_file(recipe.model);
  const std::string semantics = recipe.plan.value_or(PlanOptions()).semantics;
  if (recipe.transformers_code) check([&] { check_transformers_code(read_json(config), recipe.model.string()); });
  check([&] { check_exportable(read_json(config), recipe.model.string(), parse_semantics(semantics, "plan")); });
  if (recipe.calibration) {
    const DatasetOptions& dataset = recipe.calibration->dataset;
    check_samples(dataset, [&] {
      std::vector<Sample> chosen = choose_samples(read_samples(dataset), dataset.samples, recipe.seed);
      samples = int64_t(chosen.size());
      return chosen;
    });
  }
  for (const EvaluateOptions& options : recipe.evaluate)
    check_samples(options.dataset, [&] { return *open_benchmark(options, true).samples; });
  return checked;
}

std::string parameters_text(double count) {
  return count < 1e9 ? fmt::format("{:.3g} million", count / 1e6) : fmt::format("{:.2f} billion", count / 1e9);
}

/// Dense and pruned. With a budget the plan is not known, only what it may spend where that is this `kind` of cost;
/// else pruned is null.
Json costs(const Json& pair, const std::optional<Budget>& budget, std::optional<Budget::Kind> kind) {
  if (!budget) return {{"dense", pair.at("dense")}, {"pruned", pair.at("plan")}, {"fraction", pair.at("kept")}};
  Json cost{{"dense", pair.at("dense")}, {"pruned", nullptr}, {"fraction", nullptr}};
  if (kind != budget->kind) return cost;
  const bool bytes = budget->kind == Budget::Kind::Kv;
  const double dense = pair.at("dense").get<double>(), pruned = bytes ? budget->value : budget->value * dense;
  cost["pruned"] = std::min(pruned, dense);
  if (dense > 0) cost["fraction"] = std::min(pruned, dense) / dense;
  return cost;
}

}  // namespace

Json dry_run(const Recipe& recipe, const RunSettings& settings) {
  check_recipe_model(recipe);
  const ModelSpec spec = spec_of(recipe.model);
  const DecoderSpec& text = spec.text;
  const SizedPlan sized =
      sized_plan(recipe.plan.value_or(PlanOptions{}), text, fmt::format("{}: plan", recipe.file.string()));
  const Prompts prompts = figure_prompts(recipe, spec);
  const Json figures = report(sized.plan, spec, prompts, running_type(spec, recipe.dtype, recipe.device));
  int64_t parameters = 0, longest = 0;
  for (const StoredTensor& tensor : stored_tensors(spec)) parameters += element_count(tensor.shape, tensor.name);
  for (const PromptShape& shape : prompts.shapes) longest = std::max(longest, shape.length);
  int64_t samples = recipe.calibration ? recipe.calibration->dataset.samples : 0;
  const Checked checked = check_recipe(recipe, spec, samples);
  const double statistics = 8.0 * double(text.num_hidden_layers) *
                            (double(samples) * double(text.num_attention_heads) + 4.0 * double(text.intermediate_size));
  const MemoryNeeded memory = memory_needed(recipe, spec, settings, longest);
  const std::optional<Budget> budget = recipe.plan ? recipe.plan->budget : std::nullopt;
  const auto flops = [&](const char* name, std::optional<Budget::Kind> kind) {
    return costs(figures.at("flops").at(name), budget, kind);
  };
  return {{"settings", recipe.resolved()},
          {"parameters", parameters},
          {"plan_known", sized.known && !budget},
          {"budget", budget ? budget_json(*budget) : Json()},
          {"plan_spread", sized.spread},
          {"prompt", figures.at("prompt")},
          {"flops",
           {{"paper", flops("paper_visual", Budget::Kind::Paper)},
            {"exact", flops("exact_visual", Budget::Kind::Flops)},
            {"prefill", flops("exact_prefill", std::nullopt)}}},
          {"kv_dtype", figures.at("kv_dtype")},
          {"kv_bytes", costs(figures.at("kv_bytes"), budget, Budget::Kind::Kv)},
          {"memory_bytes",
           {{"calibrate", memory.calibrate},
            {"verify", memory.verify},
            {"limit", memory.limit},
            {"calibrate_streams", memory.calibrate_streams},
            {"verify_streams", memory.verify_streams}}},
          {"disk_bytes", {{"statistics", statistics}, {"pruned", parameters * int64_t(size_of(spec.dtype))}}},
          {"images", {{"there", checked.images}, {"read", checked.read}}},
          {"problems", checked.problems}};
}

std::string dry_run_text(const Json& dry_run) {
  const auto at = [&](const char* pointer) -> const Json& { return dry_run.at(Json::json_pointer(pointer)); };
  const auto size = [&](const char* pointer) { return scaled(at(pointer).get<double>()) + "B"; };
  std::string text = dry_run["settings"].get<std::string>() + "\n";
  text += fmt::format("parameters           {}\n", parameters_text(at("/parameters").get<double>()));
  text += fmt::format("figures below        {}: {:.4g} text and {:.4g} visual tokens\n",
                      at("/prompt/name").get<std::string>(), at("/prompt/text").get<double>(),
                      at("/prompt/visual").get<double>());
  const auto line = [&](const std::string& name, const std::string& pointer, const char* unit) {
    const Json& pair = at(pointer.c_str());
    if (pair.at("pruned").is_null()) {
      text += fmt::format("{:<20} {}{} dense\n", name, scaled(pair.at("dense").get<double>()), unit);
      return;
    }
    text += fmt::format(
        "{:<20} {}{} dense, {}{} pruned{}\n", name, scaled(pair.at("dense").get<double>()), unit,
        scaled(pair.at("pruned").get<double>()), unit,
        pair.at("fraction").is_null() ? "" : fmt::format(" ({:.1f} %)", 100 * pair.at("fraction").get<double>()));
  };
  line("visual FLOPs, paper", "/flops/paper", "FLOP");
  line("visual FLOPs, exact", "/flops/exact", "FLOP");
  line("prefill, text incl.", "/flops/prefill", "FLOP");
  line("KV cache, " + at("/kv_dtype").get<std::string>(), "/kv_bytes", "B");
  if (!dry_run["budget"].is_null())
    text += fmt::format("                     (budget {}: a search chooses the plan, so nothing else of it is known)\n",
                        dry_run["budget"].dump());
  else if (!dry_run["plan_known"].get<bool>())
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
  if (at("/images/read") < at("/images/there"))
    text += fmt::format("images               {} of {} read\n", at("/images/read").get<size_t>(),
                        at("/images/there").get<size_t>());
  for (const Json& problem : dry_run["problems"]) text += "problem: " + problem.get<std::string>() + "\n";
  return text;
}

}  // namespace yopo
