#include "calibration/calibrate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>

#include "core/error.h"
#include "core/leftovers.h"
#include "core/progress.h"
#include "core/system_error.h"
#include "core/writable.h"
#include "images/image.h"
#include "models/context.h"
#include "models/prompt.h"
#include "models/prompt_identity.h"
#include "plans/provenance.h"

namespace yopo {

namespace {

using Clock = std::chrono::steady_clock;

// What a run is of. Parts of one calibration share it, so it holds all chosen samples and not this part's.
constexpr std::array<std::string_view, 4> identity_names{"checkpoint", "dataset", "prompts", "options"};

std::string identity_of(const OpenModel& model, const CalibrationRun& run, const std::vector<Sample>& chosen) {
  return fmt::format("checkpoint {}; dataset {}; prompts {}; options queries {}, {}{}", model.checkpoint.fingerprint(),
                     dataset_fingerprint(chosen), prompt_fingerprint(model, run.prompts), name_of(run.options.queries),
                     short_name(torch_dtype(model.spec, run.dtype)),
                     run.prompts.text().empty() ? "" : ", " + run.prompts.text());
}

// The samples of this process in the order they are summed: those with an image, chosen, sorted, every parts-th.
struct Work {
  std::vector<Sample> chosen, own;
};
std::vector<Sample> chosen_by(const CalibrationRun& run, size_t& left_out) {
  std::vector<Sample> samples = read_samples(run.options.dataset);
  const size_t all = samples.size();
  std::erase_if(samples, [](const Sample& sample) { return sample.images.empty(); });
  require(!samples.empty(), "{}: none of the {} samples has an image; calibration measures visual tokens",
          run.options.dataset.questions.string(), all);
  left_out = all - samples.size();
  std::vector<Sample> chosen = choose_samples(std::move(samples), run.options.dataset.samples, run.seed);
  std::sort(chosen.begin(), chosen.end(),
            [](const Sample& a, const Sample& b) { return a.id == b.id ? a.repeat < b.repeat : id_less(a.id, b.id); });
  return chosen;
}

Work work_of(const CalibrationRun& run) {
  require(run.parts >= 1 && run.part >= 0 && run.part < run.parts,
          "part {} of {}: parts are counted from 1 to the number of parts", run.part + 1, run.parts);
  Work work;
  size_t left_out = 0;
  work.chosen = chosen_by(run, left_out);
  if (left_out > 0) note(fmt::format("calibration leaves out {} samples without an image", left_out));
  for (size_t i = size_t(run.part); i < work.chosen.size(); i += size_t(run.parts)) work.own.push_back(work.chosen[i]);
  require(!work.own.empty(), "part {} of {} has no sample: there are only {}", run.part + 1, run.parts,
          work.chosen.size());
  return work;
}

/// As it was before it told what makes prompts of questions.
std::string without_prompts(std::string identity) {
  const size_t first = identity.find("prompts "), last = identity.find("options ");
  return identity.erase(first, last - first);
}

void check_identity(const Statistics& found, const std::string& identity, const Work& work, bool finished,
                    const fs::path& path, std::string_view way_out) {
  if (found.fingerprint == identity || found.fingerprint == without_prompts(identity)) return;
  std::string differences;
  const auto add = [&](const std::string& difference) {
    differences += (differences.empty() ? "" : ", ") + difference;
  };
  for (const std::string_view name : identity_names) {
    const std::string there = identity_part(found.fingerprint, name), here = identity_part(identity, name);
    if (there == here) continue;
    if (name == "dataset" && finished && found.ids.size() != work.own.size())
      add(fmt::format("dataset ({} samples there, {} now)", found.ids.size(), work.own.size()));
    else if (name == "dataset")
      add("dataset (other samples, questions, answers or images)");
    else if (name == "prompts" && there.empty())
      continue;  // written before they were recorded
    else if (name == "prompts")
      add("prompts (the checkpoint's chat template, tokenizer or image rules)");
    else
      add(fmt::format("{} (there: {}; now: {})", name, printable(there), here));
  }
  fail("{}: made from other inputs: {} changed; {}", path.string(),
       differences.empty() ? found.fingerprint : differences, way_out);
}

// Whether the samples of the statistics are the first of these.
bool is_prefix(const Statistics& found, const std::vector<Sample>& samples) {
  if (found.ids.size() > samples.size()) return false;
  for (size_t i = 0; i < found.ids.size(); ++i)
    if (found.ids[i] != samples[i].id || found.repeat(i) != samples[i].repeat) return false;
  return true;
}

Statistics read_journal(const fs::path& journal, std::string_view way_out) {
  try {
    return read_statistics(journal, true);
  } catch (const UserError& error) {
    fail_as(error, fmt::format("{}; {}", error.what(), way_out));
  }
}

Statistics empty_statistics(const DecoderSpec& spec, Queries queries, const std::string& identity) {
  Statistics sums{.layers = spec.num_hidden_layers,
                  .heads = spec.num_attention_heads,
                  .intermediate_size = spec.intermediate_size,
                  .queries = queries,
                  .fingerprint = identity};
  for (auto* array : {&sums.abs_sum, &sums.square_sum, &sums.active})
    array->assign(size_t(sums.layers * sums.intermediate_size), 0.0);
  sums.rows.assign(size_t(sums.layers), 0);
  return sums;
}

void check_numbers(const std::vector<double>& values, int64_t width, std::string_view what, const Sample& sample) {
  for (size_t i = 0; i < values.size(); ++i)
    require(std::isfinite(values[i]),
            "{}: sample '{}' gives {} for the {} of layer {}, index {}: its image or the weights are damaged",
            sample.where, sample.id, values[i], what, int64_t(i) / width, int64_t(i) % width);
}

// Adds one sample. Everything is checked before anything is added, so the sums are never half a sample ahead.
void add_sample(Statistics& sums, const SampleStatistics& seen, const Sample& sample) {
  const std::vector<double>& ratio = sums.queries == Queries::Prefill ? seen.ratio_prefill
                                     : sums.queries == Queries::Text  ? seen.ratio_text
                                                                      : seen.ratio_decode;
  ensure(ratio.size() == size_t(sums.layers * sums.heads), "a ratio a head");
  check_numbers(ratio, sums.heads, "attention ratio", sample);
  check_numbers(seen.abs_sum, sums.intermediate_size, "activation sum", sample);
  check_numbers(seen.square_sum, sums.intermediate_size, "activation square sum", sample);
  const auto add = [](std::vector<double>& to, const std::vector<double>& from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += on_grid(from[i]);
  };
  sums.ratio.insert(sums.ratio.end(), ratio.begin(), ratio.end());
  add(sums.abs_sum, seen.abs_sum);
  add(sums.square_sum, seen.square_sum);
  add(sums.active, seen.active);
  for (size_t l = 0; l < sums.rows.size(); ++l) sums.rows[l] += seen.rows[l];
  sums.add_sample(sample.id, sample.repeat);
}

// The sums so far, on disk after the first sample and then at most once a second: a killed run loses a second and a
// sample.
class Journal {
 public:
  Journal(fs::path path, const Statistics& sums) : path_(std::move(path)), sums_(sums), saved_(sums.ids.size()) {}
  void save_now_and_then() {
    if (!last_ || Clock::now() - *last_ >= std::chrono::seconds(1)) save();
  }
  void save() {
    if (sums_.ids.size() == saved_) return;
    write_statistics(path_, sums_, true);
    saved_ = sums_.ids.size();
    last_ = Clock::now();
  }

 private:
  fs::path path_;
  const Statistics& sums_;
  size_t saved_;
  std::optional<Clock::time_point> last_;
};

void observe_samples(const OpenModel& model, const CalibrationRun& run, const std::vector<Sample>& samples,
                     Statistics& sums, const fs::path& journal_path) {
  const Processor processor(model, run.prompts);  // before the weights: its mistakes show at once
  ContextWatch context(model.spec);
  std::function<void(double)> passing;  // of the samples that are in the engine
  const TorchEngine engine(model, {run.dtype, run.threads, run.memory, [&](double share) {
                                     if (passing) passing(share);
                                   }});
  if (sums.column_norm.empty()) sums.column_norm = engine.down_column_norms();
  check_numbers(sums.column_norm, sums.intermediate_size, "norm of the down-projection's column", samples.front());
  // A damaged image is found before the first sample is run, not after an hour of them: mending it makes the samples
  // other ones, for which that hour would not count.
  if (sums.ids.empty())
    for (const Sample& sample : samples)
      for (const fs::path& image : sample.images) read_image(image, sample.where);
  Journal journal(journal_path, sums);
  Progress progress("calibrate", int64_t(samples.size()), "samples", sums.samples());
  int64_t largest = std::numeric_limits<int64_t>::max();  // samples at once
  try {
    while (sums.samples() < int64_t(samples.size())) {
      // As many samples as fit go through the model's layers together where these are brought in one at a time.
      const bool decode = run.options.queries == Queries::Decode;
      std::vector<ModelInput> inputs;
      for (size_t i = sums.ids.size(); i < samples.size(); ++i) {
        inputs.push_back(processor.prepare(samples[i].text, samples[i].images, samples[i].where));
        context.look(inputs.back().length(), decode ? 2 : 1, samples[i].where);  // the row behind the prompt is read
        largest = std::min(largest, engine.samples_at_once(inputs.back(), decode));
        if (int64_t(inputs.size()) >= largest) break;
      }
      passing = [&](double share) { progress.part(share * double(inputs.size())); };
      for (const SampleStatistics& seen : engine.observe(inputs, decode)) {
        add_sample(sums, seen, samples[sums.ids.size()]);
        progress.tick();
      }
      journal.save_now_and_then();
    }
  } catch (...) {
    const std::exception_ptr reason = std::current_exception();
    try {
      journal.save();
    } catch (const std::exception& error) {
      warn(fmt::format("the calibration so far could not be saved: {}", error.what()));
    }
    std::rethrow_exception(reason);
  }
  progress.finish();
}

}  // namespace

std::vector<Sample> calibration_samples(const CalibrationRun& run) {
  size_t left_out = 0;
  return chosen_by(run, left_out);
}

Statistics calibrate(const OpenModel& model, const CalibrationRun& run, const fs::path& output) {
  const Work work = work_of(run);
  const std::string identity = identity_of(model, run, work.chosen);
  fs::path journal = output;
  journal += ".partial";
  std::error_code ignored;
  remove_leftovers(output);
  remove_leftovers(journal);

  if (fs::exists(output)) {
    constexpr std::string_view way_out = "choose another output, or delete the file to calibrate anew";
    Statistics done = read_statistics(output);
    check_identity(done, identity, work, true, output, way_out);
    require(fits(done, model.spec.text) && done.ids.size() == work.own.size() && is_prefix(done, work.own),
            "{}: holds other samples than part {} of {}; {}", output.string(), run.part + 1, run.parts, way_out);
    fs::remove(journal, ignored);
    note(fmt::format("{}: already calibrated on the same samples", output.string()));
    return done;
  }
  check_writable(output);
  Statistics sums = empty_statistics(model.spec.text, run.options.queries, identity);
  if (fs::exists(journal)) {
    constexpr std::string_view way_out =
        "go on with the inputs of that run, choose another output, or delete the file to start over";
    Statistics found = read_journal(journal, way_out);
    check_identity(found, identity, work, false, journal, way_out);
    require(fits(found, model.spec.text) && is_prefix(found, work.own),
            "{}: holds other samples than part {} of {}; {}", journal.string(), run.part + 1, run.parts, way_out);
    note(fmt::format("calibration goes on after {} of {} samples", found.samples(), work.own.size()));
    sums = std::move(found);
  }
  sums.parts = run.parts;
  if (run.parts > 1) sums.held = {run.part + 1};
  if (sums.samples() < int64_t(work.own.size())) observe_samples(model, run, work.own, sums, journal);
  write_statistics(output, sums);
  fs::remove(journal, ignored);
  return sums;
}

}  // namespace yopo
