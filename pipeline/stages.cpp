#include "pipeline/stages.h"

#include <unistd.h>

#include <sstream>

#include "compress/make_plan.h"
#include "core/held_file.h"
#include "core/progress.h"
#include "core/version.h"
#include "exporters/edit_config.h"
#include "exporters/export.h"
#include "formats/npy.h"
#include "pipeline/stored.h"
#include "plans/pruned_config.h"
#include "runtime/device.h"

namespace yopo {

namespace {

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error && fs::is_directory(folder), "{}: cannot make the folder: {}", folder.string(),
          error ? error.message() : "a file of that name is there");
}

/// UserError naming the first line in which the folder's recipe and this one differ.
void check_same_recipe(const fs::path& file, const std::string& resolved) {
  const std::string before = read_text(file);
  if (before == resolved) return;
  std::istringstream old_lines(before), new_lines(resolved);
  std::string was, is;
  while (true) {
    const bool more_old = bool(std::getline(old_lines, was)), more_new = bool(std::getline(new_lines, is));
    if (!more_old) was = "(nothing)";
    if (!more_new) is = "(nothing)";
    if (was != is || (!more_old && !more_new)) break;
  }
  fail(
      "{}: this folder belongs to another recipe: it was '{}' and is now '{}'; choose another output, or remove the "
      "folder "
      "(its stats.h5 may be copied into the new one to spare the calibration)",
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
          folder / "comparison.json"};
}

OutputFolder::OutputFolder(const Recipe& recipe) : files_(output_files(recipe.output)) {
  make_folder(files_.folder);
  descriptor_ = open_held(files_.folder / ".lock",
                          "another yopo is writing into this folder; wait for it or choose another output");
  try {
    const std::string resolved = recipe.resolved();
    if (fs::exists(files_.recipe)) {
      check_same_recipe(files_.recipe, resolved);
    } else {
      write_text(files_.recipe, resolved);
    }
  } catch (...) {
    ::close(descriptor_);
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

Statistics calibrate_stage(const Recipe& recipe, const OpenModel& model, const RunSettings& settings,
                           const fs::path& output) {
  require(recipe.calibration.has_value(), "{}: the recipe has no section calibration", recipe.file.string());
  CalibrationRun run;
  run.dtype = recipe.dtype;
  run.threads = settings.threads;
  run.memory = settings.memory;
  run.seed = recipe.seed;
  run.chat_template = recipe.chat_template;
  run.options = *recipe.calibration;
  return calibrate(model, run, output);
}

Plan plan_stage(const Recipe& recipe, const OpenModel& model, const Statistics& statistics, const OutputFiles& files) {
  require(recipe.plan.has_value(), "{}: the recipe has no section plan", recipe.file.string());
  Plan plan = make_plan(statistics, *recipe.plan, model.spec.text, recipe.file.string() + ": plan");
  if (fs::exists(files.plan)) {
    require(plan_to_json(read_plan(files.plan)) == plan_to_json(plan),
            "{}: another plan is there already; choose another output or remove it together with {}",
            files.plan.string(), files.pruned.string());
  } else {
    write_plan(files.plan, plan);
  }
  write_npy_bool(files.head_mask, head_mask(plan));
  return plan;
}

namespace {

/// What a proof is of.
std::string verify_inputs(const OpenModel& pruned, const VerifyOptions& options) {
  Fingerprint key;
  key.add(pruned.checkpoint.fingerprint()).add(open_model(options.original).checkpoint.fingerprint());
  key.add(dataset_fingerprint(options.samples));
  key.add(fmt::format("{} {} {}", options.device, options.max_new_tokens, tool_version));
  if (!options.chat_template.empty()) key.add(options.chat_template);
  return key.hex();
}

/// Times are of the run that asked: a result without any takes those of the same result in eval.json.
void take_times(EvaluationResult& result, const std::vector<EvaluationResult>& before, size_t index) {
  if (result.seconds > 0 || index >= before.size()) return;
  EvaluationResult old = before[index];
  if (old.benchmark != result.benchmark || old.pruned != result.pruned || old.count != result.count) return;
  result.seconds = old.seconds, result.seconds_model = old.seconds_model;
  result.seconds_prepare = old.seconds_prepare, result.seconds_waited = old.seconds_waited;
  result.seconds_journal = old.seconds_journal;
}

}  // namespace

VerifyResult verify_stage(const Recipe& recipe, const RunSettings& settings, const OutputFiles& files, Reuse reuse) {
  const OpenModel pruned = open_model(files.pruned);
  VerifyOptions options;
  options.original = recipe.model;
  const runtime::Options run = engine_options(settings, recipe.dtype, recipe.device);
  options.threads = run.threads;
  options.memory = run.memory;
  options.device = run.device;
  options.chat_template = recipe.chat_template;
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

fs::path answers_file(const fs::path& answers_folder, const std::string& benchmark, bool pruned, const Shard& shard) {
  const std::string part = shard.whole() ? "" : fmt::format(".{}-of-{}", shard.number, shard.count);
  return answers_folder / fmt::format("{}-{}{}.jsonl", benchmark, pruned ? "pruned" : "dense", part);
}

EvaluationResult evaluate_one(const OpenModel& model, const Plan& plan, const EvaluateOptions& options,
                              const std::string& name, const std::string& chat_template, const runtime::Options& run,
                              const fs::path& answers_folder, const Shard& shard) {
  const bool pruned = !is_dense(plan, model.spec.text);
  const OpenBenchmark benchmark = open_benchmark(options, true);  // before the weights: its mistakes show at once
  EvaluationRun evaluation;
  evaluation.options = options;
  evaluation.model = name;
  evaluation.pruned = pruned;
  Fingerprint key;
  key.add(model.checkpoint.fingerprint()).add(plan_to_json(plan).dump());
  key.add(dataset_fingerprint(*benchmark.samples));
  key.add(fmt::format("{} {} {} {}", options.benchmark, benchmark.protocol, options.max_new_tokens,
                      short_name(runtime::computing_type(run, model.spec.dtype))));
  if (!chat_template.empty()) key.add(chat_template);
  evaluation.fingerprint = key.hex();
  evaluation.shard = shard;
  evaluation.answers = answers_file(answers_folder, options.benchmark, pruned, shard);
  if (std::optional<EvaluationResult> finished = finished_evaluation(benchmark, evaluation)) {
    note(fmt::format("{} ({}): as answered in {}", options.benchmark, pruned ? "pruned" : "dense",
                     evaluation.answers.string()));
    return *std::move(finished);
  }
  const Processor processor(model, chat_template);
  const runtime::Engine engine(model, plan, run);
  return evaluate(engine, processor, benchmark, evaluation);
}

std::vector<EvaluationResult> evaluate_stage(const Recipe& recipe, const RunSettings& settings,
                                             const OutputFiles& files) {
  const runtime::Options run = engine_options(settings, recipe.dtype, recipe.device);
  const OpenModel original = open_model(recipe.model), pruned = open_model(files.pruned);
  const Plan plan = choose_plan(pruned, false, {});
  const std::vector<EvaluationResult> before = stored(files.eval, [&](const Json& json) {
                                                 return evaluation_from_json(json, files.eval.string());
                                               }).value_or(std::vector<EvaluationResult>());
  std::vector<EvaluationResult> results;
  for (size_t i = 0; i < recipe.evaluate.size(); ++i) {
    const EvaluateOptions& options = recipe.evaluate[i];
    // The same benchmark may be asked more than once (other questions): each entry keeps its own answers.
    const fs::path folder = recipe.evaluate.size() == 1 ? files.answers : files.answers / std::to_string(i);
    results.push_back(evaluate_one(original, dense_plan(original.spec.text), options, recipe.model.string(),
                                   recipe.chat_template, run, folder));
    results.push_back(evaluate_one(pruned, plan, options, files.pruned.string(), recipe.chat_template, run, folder));
  }
  for (size_t i = 0; i < results.size(); ++i) take_times(results[i], before, i);
  write_json(files.eval, evaluation_to_json(results));
  return results;
}

fs::path config_file(const fs::path& model) { return fs::is_directory(model) ? model / "config.json" : model; }

ModelSpec spec_of(const fs::path& model) {
  const std::string config = config_file(model).string();
  const Json json = read_json(config);
  ModelSpec spec = spec_from_config(json, config);
  try {
    return open_model(model).spec;
  } catch (const UserError&) {
    spec.dtype = stored_type(json, config);
    return spec;
  }
}

Plan choose_plan(const OpenModel& model, bool dense, const fs::path& plan) {
  const DecoderSpec& spec = model.spec.text;
  require(!(dense && !plan.empty()), "--dense and --plan exclude each other");
  if (dense) return dense_plan(spec);
  const std::optional<Plan> own = plan_of_checkpoint(model.checkpoint, spec);
  if (plan.empty()) return own.value_or(dense_plan(spec));
  Plan read = read_plan(plan);
  check_plan(read, spec, plan.string());
  return read;
}

}  // namespace yopo
