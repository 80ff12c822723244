#include "pipeline/together.h"

#include <chrono>
#include <random>
#include <thread>

#include "core/interrupt.h"
#include "evaluation/merge_answers.h"
#include "runtime/engine.h"

namespace yopo {

namespace {

using TogetherClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kSeenWithin{30};
constexpr std::chrono::milliseconds kLookEvery{20};

/// `seen` again and again until it is true; false when it has not become so.
bool becomes(const RankGroup& ranks, const std::function<bool()>& seen) {
  const auto within = std::min<std::chrono::milliseconds>(kSeenWithin, ranks.patience());
  for (const auto until = TogetherClock::now() + within; !seen();) {
    check_interrupt();
    if (TogetherClock::now() > until) return false;
    std::this_thread::sleep_for(kLookEvery);
  }
  return true;
}

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

std::string rank_suffix(int64_t rank, int64_t count) { return fmt::format(".rank-{}-of-{}", rank, count); }

/// Removes what ranks left beside `file`, of any number of ranks.
void remove_parts(const fs::path& file) {
  const std::string start = file.filename().string() + ".rank-";
  std::vector<fs::path> parts;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_of(file), ignored))
    if (entry.path().filename().string().starts_with(start)) parts.push_back(entry.path());
  for (const fs::path& part : parts) fs::remove(part, ignored);
}

}  // namespace

void agree_on_recipe(RankGroup& ranks, const Recipe& recipe, const OpenModel& model, const std::string& device) {
  runtime::Options run;
  run.dtype = recipe.dtype;
  run.device = device;
  ranks.agree({{"recipe", recipe.resolved()},
               {"checkpoint (fingerprint)", model.checkpoint.fingerprint()},
               {"device", device},
               {"type of numbers", std::string(short_name(runtime::computing_type(run, model.spec.dtype)))}});
}

void check_same_folder(RankGroup& ranks, const fs::path& folder) {
  const fs::path file = folder / rank_mark;
  std::string mark;
  if (ranks.leads()) {
    std::random_device random;
    mark = fmt::format("rank 0 of a run {:08x}{:08x}{:08x}\n", random(), random(), random());
    write_text(file, mark);
  }
  mark = ranks.broadcast(mark);
  const auto sees = [&] {
    std::error_code code;
    return fs::exists(file, code) && read_text(file) == mark;
  };
  require(becomes(ranks, sees), "{}: {} does not see the folder that rank 0 writes into: the ranks need a shared one",
          folder.string(), ranks.name());
  ranks.barrier();
  std::error_code ignored;
  if (ranks.leads()) fs::remove(file, ignored);
}

void wait_for_file(const RankGroup& ranks, const fs::path& file, int maker) {
  const auto sees = [&] {
    std::error_code code;
    return fs::exists(file, code);
  };
  require(becomes(ranks, sees), "{}: {} does not see this file of {}: the ranks need a shared folder", file.string(),
          ranks.name(), ranks.name(maker));
}

Statistics calibrate_together(const OpenModel& model, const CalibrationRun& run, const fs::path& output,
                              RankGroup* ranks) {
  if (!ranks) {
    Statistics statistics = calibrate(model, run, output);
    remove_parts(output);
    return statistics;
  }
  const std::vector<Sample> samples = calibration_samples(run);
  ranks->agree({{"checkpoint (fingerprint)", model.checkpoint.fingerprint()},
                {"samples of the calibration (fingerprint of questions and images)", dataset_fingerprint(samples)},
                {"options of the calibration",
                 fmt::format("queries {}, dtype {}, {}", name_of(run.options.queries), run.dtype, run.prompts.text())},
                {"statistics file", output.string()}});
  check_same_folder(*ranks, folder_of(output));
  const int64_t parts = std::min<int64_t>(ranks->size(), int64_t(samples.size()));
  const bool alone = parts == 1 || ranks->broadcast(ranks->leads() && fs::exists(output) ? "there" : "") == "there";
  const auto part_file = [&](int64_t rank) { return fs::path(output.string() + rank_suffix(rank, parts)); };
  if (!alone && ranks->rank() < parts) {
    CalibrationRun part = run;
    part.part = ranks->rank();
    part.parts = parts;
    (void)calibrate(model, part, part_file(ranks->rank()));
  }
  ranks->barrier();
  if (ranks->leads() && alone) (void)calibrate(model, run, output);
  if (ranks->leads() && !alone) {
    std::vector<Statistics> all;
    for (int rank = 0; rank < int(parts); ++rank) {
      wait_for_file(*ranks, part_file(rank), rank);
      all.push_back(read_statistics(part_file(rank)));
    }
    write_statistics(output, merge_statistics(all));
    std::error_code ignored;
    fs::remove(output.string() + ".partial", ignored);  // of a process that was alone
  }
  if (ranks->leads()) remove_parts(output);
  ranks->barrier();
  wait_for_file(*ranks, output, 0);
  return read_statistics(output);
}

EvaluationResult evaluate_together(const OpenBenchmark& benchmark, const EvaluationRun& run,
                                   std::optional<EvaluationResult> finished,
                                   const std::function<EvaluationResult(const EvaluationRun& part)>& ask,
                                   RankGroup& ranks) {
  ranks.agree(
      {{fmt::format("{}: questions, images, model and plan (fingerprint)", run.options.benchmark), run.fingerprint},
       {"file of answers", run.answers.string()}});
  check_same_folder(ranks, folder_of(run.answers));
  if (finished) remove_parts(run.answers);
  if (ranks.broadcast(finished ? "finished" : "") == "finished") return finished.value_or(EvaluationResult{});
  const auto start = TogetherClock::now();
  const int64_t count = std::min<int64_t>(ranks.size(), int64_t(benchmark.samples->size()));
  const auto part_file = [&](int64_t rank) { return fs::path(run.answers.string() + rank_suffix(rank, count)); };
  EvaluationResult own;
  if (ranks.rank() < count && count > 1) {
    EvaluationRun part = run;
    part.shard = {ranks.rank() + 1, count};
    part.answers = part_file(ranks.rank());
    const std::optional<EvaluationResult> before = finished_evaluation(benchmark, part);
    own = before ? *before : ask(part);
  }
  ranks.barrier();
  EvaluationResult result;
  if (ranks.leads() && count == 1) result = ask(run);
  if (ranks.leads() && count > 1) {
    std::vector<fs::path> files;
    for (int rank = 0; rank < int(count); ++rank) {
      files.push_back(part_file(rank));
      wait_for_file(ranks, files.back(), rank);
    }
    merge_answers(files, benchmark, run.answers);
    const std::optional<EvaluationResult> merged = finished_evaluation(benchmark, run);
    ensure(merged.has_value(), "merged answers are whole");
    result = *merged;
    // Of this rank, and the seconds of all together.
    result.seconds_model = own.seconds_model, result.seconds_prepare = own.seconds_prepare;
    result.seconds_waited = own.seconds_waited, result.seconds_journal = own.seconds_journal;
    result.seconds = std::chrono::duration<double>(TogetherClock::now() - start).count();
  }
  if (ranks.leads()) remove_parts(run.answers);
  ranks.barrier();
  return result;
}

}  // namespace yopo
