#include "evaluation/evaluate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "core/progress.h"
#include "evaluation/ask.h"
#include "evaluation/by_images.h"
#include "evaluation/journal.h"
#include "evaluation/prepare_ahead.h"
#include "models/context.h"

namespace yopo {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kPoints = "points";
constexpr size_t kAhead = 16;     // inputs made beyond the batch that comes next
constexpr unsigned kWorkers = 8;  // at most: images of a GPU's batches, while its kernels run

constexpr std::array<std::pair<const char*, double EvaluationResult::*>, 4> kSeconds = {
    {{"seconds_model", &EvaluationResult::seconds_model},
     {"seconds_prepare", &EvaluationResult::seconds_prepare},
     {"seconds_waited", &EvaluationResult::seconds_waited},
     {"seconds_journal", &EvaluationResult::seconds_journal}}};

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// Threads that prepare inputs: they share the cores with a model that may run on them too.
size_t workers() { return std::clamp(std::thread::hardware_concurrency() / 2, 1u, kWorkers); }

std::vector<const Sample*> asked_by(const Shard& shard, const OpenBenchmark& benchmark) {
  std::vector<const Sample*> mine;
  const std::vector<int64_t> shards = shard.whole() ? std::vector<int64_t>() : shards_of(benchmark, shard.count);
  for (size_t i = 0; i < benchmark.samples->size(); ++i)
    if (shard.whole() || shards[i] == shard.number) mine.push_back(&(*benchmark.samples)[i]);
  return mine;
}

std::string title_of(const EvaluationRun& run) {
  return fmt::format("evaluating {} ({}{})", run.options.benchmark, run.pruned ? "pruned" : "dense",
                     run.shard.whole() ? "" : ", shard " + run.shard.text());
}

EvaluationResult result_of(const OpenBenchmark& benchmark, const Answers& answers) {
  Score score = benchmark.score(answers);
  EvaluationResult result;
  result.benchmark = benchmark.benchmark->name;
  result.protocol = benchmark.protocol;
  result.rule = benchmark.rule;
  result.points = benchmark.benchmark->points;
  result.scored = score.scored;
  result.count = score.count;
  result.score = score.score;
  result.categories = std::move(score.categories);
  result.details = std::move(score.details);
  return result;
}

/// Of a shard: metrics are of all answers, so it is scored when it is merged.
EvaluationResult unscored(const OpenBenchmark& benchmark, const Shard& shard, size_t count) {
  EvaluationResult result;
  result.benchmark = benchmark.benchmark->name;
  result.protocol = benchmark.protocol;
  result.rule = benchmark.rule;
  result.shard = shard.text();
  result.scored = false;
  result.count = int64_t(count);
  return result;
}

}  // namespace

EvaluationResult evaluate(const runtime::Engine& engine, const Processor& processor, const OpenBenchmark& benchmark,
                          const EvaluationRun& run) {
  const std::vector<const Sample*> mine = asked_by(run.shard, benchmark);
  AnswerJournal journal(run.answers, AnswerSeal{run.fingerprint, run.shard}.text(), benchmark.key_of());
  std::vector<const Sample*> open;
  for (const Sample* sample : by_images(mine))  // of all, so that a continued run asks in the same order
    if (!journal.answers().contains(question_key(*sample))) open.push_back(sample);

  ContextWatch context(engine.spec());
  EvaluationResult times;
  const int64_t batch_size = std::max<int64_t>(1, run.options.batch_size);
  const Clock::time_point start = Clock::now();
  Progress progress(title_of(run), int64_t(mine.size()), "questions", int64_t(mine.size() - open.size()));
  PrepareAhead inputs(open.size(), size_t(batch_size) + kAhead, workers(),
                      [&](size_t i) { return processor.prepare(*open[i]); });
  for (size_t first = 0; first < open.size(); first += size_t(batch_size)) {
    const size_t last = std::min(open.size(), first + size_t(batch_size));
    std::vector<ModelInput> batch;
    for (size_t i = first; i < last; ++i) {
      batch.push_back(inputs.next());
      if (run.options.max_new_tokens > 0) context.look(batch.back().length(), benchmark.max_new_tokens, open[i]->where);
    }
    const Clock::time_point asked = Clock::now();
    if (run.dropping) {
      std::vector<std::string> keys;
      for (size_t i = first; i < last; ++i) keys.push_back(question_key(*open[i]));
      drop_tokens(engine, *run.dropping, keys, batch);
    }
    const std::vector<runtime::Generated> generated = ask(engine, batch, benchmark.max_new_tokens);
    const Clock::time_point answered = Clock::now();
    for (size_t i = first; i < last; ++i) {
      const std::vector<int64_t>& answer = generated[i - first].tokens;
      // A benchmark's own limit is far above its answers: what was said counts.
      context.look(batch[i - first].length(), int64_t(answer.size()), open[i]->where);
      journal.add(*open[i], processor.text_of(answer), run.model);
    }
    journal.flush();
    times.seconds_model += seconds_between(asked, answered);
    times.seconds_journal += seconds_between(answered, Clock::now());
    progress.tick(int64_t(last - first));
  }
  journal.arrange(mine);
  progress.finish();
  EvaluationResult result = run.shard.whole() ? result_of(benchmark, {run.answers.string(), journal.answers()})
                                              : unscored(benchmark, run.shard, mine.size());
  result.model = run.model;
  result.pruned = run.pruned;
  result.batch_size = batch_size;
  result.seconds_model = times.seconds_model;
  result.seconds_journal = times.seconds_journal;
  result.seconds_prepare = inputs.seconds();
  result.seconds_waited = inputs.waited();
  result.seconds = seconds_between(start, Clock::now());
  return result;
}

std::optional<EvaluationResult> finished_evaluation(const OpenBenchmark& benchmark, const EvaluationRun& run) {
  if (!fs::exists(run.answers)) return std::nullopt;
  const std::vector<const Sample*> mine = asked_by(run.shard, benchmark);
  AnswerJournal journal(run.answers, AnswerSeal{run.fingerprint, run.shard}.text(), benchmark.key_of());
  for (const Sample* sample : mine)
    if (!journal.answers().contains(question_key(*sample))) return std::nullopt;
  journal.arrange(mine);
  EvaluationResult result = run.shard.whole() ? result_of(benchmark, {run.answers.string(), journal.answers()})
                                              : unscored(benchmark, run.shard, mine.size());
  result.model = run.model;
  result.pruned = run.pruned;
  result.batch_size = std::max<int64_t>(1, run.options.batch_size);
  return result;
}

EvaluationResult score_answers(const OpenBenchmark& benchmark, const Answers& answers) {
  return result_of(benchmark, answers);
}

EvaluationResult score_answers(const OpenBenchmark& benchmark, const fs::path& answers) {
  return result_of(benchmark, read_answers(answers, benchmark));
}

Json evaluation_to_json(const std::vector<EvaluationResult>& results) {
  Json list = Json::array();
  for (const EvaluationResult& result : results) {
    Json categories = Json::object();
    for (const auto& [name, value] : result.categories) categories[name] = value;
    Json entry{{"benchmark", result.benchmark}, {"protocol", result.protocol}};
    if (!result.rule.empty()) entry["rule"] = result.rule;
    entry["model"] = result.model;
    entry["pruned"] = result.plan_known ? Json(result.pruned) : Json();
    if (!result.budget.empty()) entry["budget"] = result.budget;
    entry["count"] = result.count;
    entry["score"] = result.scored ? Json(result.score) : Json();
    if (result.points) entry["unit"] = kPoints;
    entry["categories"] = std::move(categories);
    if (!result.details.empty()) {
      entry["details"] = Json::object();
      for (const auto& [name, value] : result.details) entry["details"][name] = value;
    }
    entry["batch_size"] = result.batch_size;
    if (!result.shard.empty()) entry["shard"] = result.shard;
    entry["seconds"] = result.seconds;
    for (const auto& [name, part] : kSeconds)
      if (result.*part > 0) entry[name] = result.*part;
    list.push_back(std::move(entry));
  }
  return Json{{"results", list}};
}

std::vector<EvaluationResult> evaluation_from_json(const Json& json, const std::string& where) {
  std::vector<EvaluationResult> results;
  for (const Json& entry : get_array(json, "results", where)) {
    EvaluationResult result;
    result.benchmark = get_string(entry, "benchmark", where);
    result.protocol = get_string(entry, "protocol", where);
    result.model = get_string(entry, "model", where);
    result.pruned = get_bool_or(entry, "pruned", where, false);
    result.plan_known = has(entry, "pruned") || !entry.contains("pruned");
    result.budget = get_string_or(entry, "budget", where, "");
    result.count = get_int(entry, "count", where, 0, int64_t(1) << 40);
    result.rule = get_string_or(entry, "rule", where, "");
    result.scored = has(entry, "score") || !entry.contains("score");
    if (result.scored) result.score = get_number(entry, "score", where);
    result.points = get_string_or(entry, "unit", where, "") == kPoints;
    for (const auto& [name, value] : get_object(entry, "categories", where).items()) {
      require(value.is_number(), "{}: categories.{}: expected a number, found {}", where, name, value.dump());
      result.categories.emplace_back(name, value.get<double>());
    }
    if (has(entry, "details"))
      for (const auto& [name, value] : get_object(entry, "details", where).items())
        result.details.emplace_back(name, get_int(entry["details"], name, where, INT64_MIN, INT64_MAX));
    result.batch_size = get_int_or(entry, "batch_size", where, 1, int64_t(1) << 30, 1);
    result.shard = get_string_or(entry, "shard", where, "");
    result.seconds = get_number_or(entry, "seconds", where, 0);
    for (const auto& [name, part] : kSeconds) result.*part = get_number_or(entry, name, where, 0);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace yopo
