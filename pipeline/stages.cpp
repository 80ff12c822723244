#include "pipeline/stages.h"

#include <unistd.h>

#include <sstream>

#include "core/held_file.h"
#include "core/progress.h"
#include "core/system_error.h"
#include "core/version.h"
#include "exporters/edit_config.h"
#include "models/prompt_identity.h"
#include "pipeline/stored.h"
#include "pipeline/together.h"
#include "plans/provenance.h"
#include "plans/pruned_config.h"
#include "runtime/device.h"

namespace yopo {

namespace {

constexpr const char* kLock = ".lock";
constexpr const char* kOutputKey = "output: ";  // of a resolved recipe

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error && fs::is_directory(folder), "{}: cannot make the folder: {}", folder.string(),
          error ? error.message() : "a file of that name is there");
}

/// Whether nothing but the recipe (and the lock) is in the folder: a first try that failed at once.
bool holds_only(const fs::path& folder, const fs::path& recipe) {
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code))
    if (const fs::path name = entry.path().filename(); name != recipe.filename() && name != kLock && name != rank_mark)
      return false;
  return !code;
}

/// Writes the recipe, unless the folder's is the same but for where the folder is. UserError naming the first line in
/// which they differ, if there is anything else in the folder.
void claim_folder(const fs::path& file, const std::string& resolved) {
  const std::string before = fs::exists(file) ? read_text(file) : "";
  if (before == resolved) return;
  std::istringstream old_lines(before), new_lines(resolved);
  std::string was, is;
  while (true) {
    const bool more_old = bool(std::getline(old_lines, was)), more_new = bool(std::getline(new_lines, is));
    if (!more_old) was = "(nothing)";
    if (!more_new) is = "(nothing)";
    const bool moved = was.starts_with(kOutputKey) && is.starts_with(kOutputKey);
    if ((was != is && !moved) || (!more_old && !more_new)) break;
  }
  if (was == is || before.empty() || holds_only(file.parent_path(), file)) {
    write_text(file, resolved);
    return;
  }
  fail(
      "{}: this folder belongs to another recipe: it was '{}' and is now '{}'; choose another output, or remove the "
      "folder "
      "(its stats.h5 may be copied into the new one to spare the calibration, and `yopo plan RECIPE --stats STATS "
      "--output FILE` plans from it anew)",
      file.parent_path().string(), was, is);
}

}  // namespace

OutputFiles output_files(const fs::path& folder) {
  return {folder,
          folder / "recipe.yaml",
          folder / "stats.h5",
          folder / "headmask.npy",
          folder / "plan.json",
          folder / "pruned",
          folder / "verify.json",
          folder / "eval.json",
          folder / "answers",
          folder / "comparison.json",
          folder / "times.json"};
}

namespace {

/// Says that nothing is at the path; `what` should be there. Nothing where something is.
std::optional<std::string> absent(const fs::path& path, std::string_view what) {
  std::error_code code;
  if (path.empty() || fs::exists(path, code)) return std::nullopt;
  return fmt::format("{}: no such {}{}", path.string(), what,
                     path.is_absolute() ? ""
                                        : fmt::format(" (paths in a recipe are relative to the working directory, {})",
                                                      fs::current_path(code).string()));
}

}  // namespace

void check_recipe_model(const Recipe& recipe) {
  if (const auto missing = absent(recipe.model, "folder")) fail("{}", *missing);
}

OpenModel open_recipe_model(const Recipe& recipe) {
  check_recipe_model(recipe);
  return open_model(recipe.model);
}

std::vector<std::string> missing_paths(const DatasetOptions& dataset) {
  std::vector<std::string> missing;
  const auto check = [&](const fs::path& path, std::string_view what) {
    if (auto message = absent(path, what)) missing.push_back(*std::move(message));
  };
  check(dataset.questions, "question file");
  check(dataset.images, "folder of images");
  if (dataset.annotations.string().find(',') == std::string::npos)  // several: the benchmark looks for each
    check(dataset.annotations, "file or folder of annotations");
  return missing;
}

OutputFolder::OutputFolder(const Recipe& recipe, RankGroup* ranks) : files_(output_files(recipe.output)) {
  try {
    if (leads(ranks)) {
      make_folder(files_.folder);
      descriptor_ = open_held(files_.folder / kLock,
                              "another yopo is writing into this folder; wait for it or choose another output");
      claim_folder(files_.recipe, recipe.resolved());
    }
    if (ranks) check_same_folder(*ranks, files_.folder);
  } catch (...) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw;
  }
}

OutputFolder::~OutputFolder() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string resolve_device(const std::string& device) {
  std::string why;
  if (device == "auto") return runtime::device_available("cuda", &why) ? "cuda" : "cpu";
  require(runtime::device_available(device, &why), "device {}: {}", device, why);
  return device;
}

runtime::Options engine_options(const RunSettings& settings, const std::string& dtype, const std::string& device) {
  runtime::Options options;
  options.dtype = dtype;
  options.device = resolve_device(device);
  options.threads = settings.threads;
  options.memory = settings.memory;
  return options;
}

void check_statistics(const Statistics& statistics, const OpenModel& model, const std::string& where) {
  const std::string gathered = identity_part(statistics.fingerprint, "checkpoint");
  if (gathered.empty() || !fits(statistics, model.spec.text)) return;
  const std::string here = model.checkpoint.fingerprint();
  require(gathered == here,
          "{}: statistics of another checkpoint than {} (fingerprint there: {}; here: {}); calibrate on this one",
          where, model.checkpoint.folder().string(), printable(gathered), here);
}

namespace {

/// The model, where its weights can be read; nothing of a config.json alone.
std::optional<OpenModel> with_weights(const fs::path& model) {
  if (!fs::is_directory(model)) return std::nullopt;
  try {
    return open_model(model);
  } catch (const SystemError&) {
    throw;
  } catch (const UserError&) {
    return std::nullopt;
  }
}

}  // namespace

Statistics statistics_for(const fs::path& model, const fs::path& file) {
  Statistics statistics = read_statistics(file);
  if (const std::optional<OpenModel> open = with_weights(model)) check_statistics(statistics, *open, file.string());
  return statistics;
}

Statistics calibrate_stage(const Recipe& recipe, const OpenModel& model, const RunSettings& settings,
                           const fs::path& output) {
  require(recipe.calibration.has_value(), "{}: the recipe has no section calibration", recipe.file.string());
  CalibrationRun run;
  run.dtype = recipe.dtype;
  run.threads = settings.threads;
  run.memory = settings.memory;
  run.seed = recipe.seed;
  run.prompts = recipe.prompts;
  run.options = *recipe.calibration;
  return calibrate_together(model, run, output, settings.ranks);
}

namespace {

/// What a proof is of.
std::string verify_inputs(const OpenModel& pruned, const VerifyOptions& options) {
  Fingerprint key;
  const OpenModel original = open_model(options.original);
  key.add(pruned.checkpoint.fingerprint()).add(original.checkpoint.fingerprint());
  key.add(dataset_fingerprint(options.samples));
  key.add(fmt::format("{} {} {}", options.device, options.max_new_tokens, tool_version));
  if (!options.prompts.text().empty()) key.add(options.prompts.text());
  if (!options.budget.empty()) key.add("budget " + options.budget);
  key.add(prompt_fingerprint(pruned, options.prompts)).add(prompt_fingerprint(original, options.prompts));
  return key.hex();
}

}  // namespace

VerifyResult verify_stage(const Recipe& recipe, const RunSettings& settings, const OutputFiles& files, Reuse reuse,
                          const std::string& budget) {
  const OpenModel pruned = open_model(files.pruned);
  VerifyOptions options;
  options.original = recipe.model;
  const runtime::Options run = engine_options(settings, recipe.dtype, recipe.device);
  options.threads = run.threads;
  options.memory = run.memory;
  options.device = run.device;
  options.prompts = recipe.prompts;
  options.budget = budget;
  std::vector<Sample> samples;
  if (recipe.calibration)
    samples = read_samples(recipe.calibration->dataset);
  else if (!recipe.evaluate.empty())
    samples = *open_benchmark(recipe.evaluate.front(), true).samples;
  else
    fail("{}: verify needs samples: give calibration.dataset or evaluate", recipe.file.string());
  options.samples = choose_samples(std::move(samples), recipe.verify_samples, recipe.seed);
  const std::string inputs = verify_inputs(pruned, options);
  if (reuse == Reuse::Same) {
    const auto proof =
        stored(files.verify, [&](const Json& json) { return verify_from_json(json, files.verify.string()); });
    if (proof && proof->passed && proof->inputs == inputs) {
      note(fmt::format("verify: as in {}, of the same checkpoints and samples", files.verify.string()));
      return *proof;
    }
  }
  VerifyResult result = verify(pruned, options);
  result.inputs = inputs;
  write_json(files.verify, verify_to_json(result));
  return result;
}

ModelSpec spec_of(const fs::path& model) {
  const std::string config = config_file(model).string();
  const Json json = read_json(config);
  ModelSpec spec = spec_from_config(json, config);
  if (const std::optional<OpenModel> open = with_weights(model)) return open->spec;
  spec.dtype = stored_type(json, config);
  return spec;
}

DType running_type(const ModelSpec& spec, const std::string& dtype, const std::string& device) {
  try {
    return runtime::computing_type(engine_options({}, dtype, device), spec.dtype);
  } catch (const UserError&) {
    return spec.dtype;
  }
}

fs::path config_file(const fs::path& model) { return fs::is_directory(model) ? model / "config.json" : model; }

std::string chosen_budget(const OpenModel& model, const std::string& budget) {
  const CheckpointBudgets there = budgets_of_checkpoint(model.checkpoint);
  const std::string folder = model.checkpoint.folder().string();
  if (!budget.empty() && !there.names.empty()) return pick_budget(there.names, budget, folder);
  if (there.names.empty()) return budget.empty() ? "" : parse_budget(budget, "--budget");
  note(fmt::format("{}: plans for budgets {}; that of {} runs (--budget picks another)", folder,
                   fmt::join(there.names, ", "), there.fallback));
  return there.fallback;
}

Plan choose_plan(const OpenModel& model, bool dense, const fs::path& plan, const std::string& budget) {
  const DecoderSpec& spec = model.spec.text;
  require(!(dense && !plan.empty()), "--dense and --plan exclude each other");
  require(budget.empty() || (!dense && plan.empty()), "--budget and {} exclude each other",
          dense ? "--dense" : "--plan");
  if (dense) return dense_plan(spec);
  const std::optional<Plan> own =
      plan_of_checkpoint(model.checkpoint, spec, plan.empty() ? chosen_budget(model, budget) : "");
  if (plan.empty()) return own.value_or(dense_plan(spec));
  Plan read = read_plan(plan);
  check_plan(read, spec, plan.string());
  check_made_for(read, model.checkpoint, spec, plan.string());
  return read;
}

}  // namespace yopo
