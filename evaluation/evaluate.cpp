#include "evaluation/evaluate.h"

#include <chrono>

#include "core/progress.h"
#include "evaluation/journal.h"
#include "evaluation/metrics/plain.h"

namespace yopo {

namespace {

EvaluationResult result_of(const OpenBenchmark& benchmark, const Answers& answers) {
  Score score = benchmark.score(answers);
  EvaluationResult result;
  result.benchmark = benchmark.benchmark->name;
  result.protocol = benchmark.protocol;
  result.rule = benchmark.rule;
  result.scored = score.scored;
  result.count = score.count;
  result.score = score.score;
  result.categories = std::move(score.categories);
  result.details = std::move(score.details);
  return result;
}

}  // namespace

EvaluationResult evaluate(const runtime::Engine& engine, const Processor& processor, const OpenBenchmark& benchmark,
                          const EvaluationRun& run) {
  const std::vector<Sample>& samples = *benchmark.samples;
  AnswerJournal journal(run.answers, run.fingerprint, benchmark.key_of());
  std::vector<const Sample*> open;
  for (const Sample& sample : samples)
    if (!journal.answers().contains(question_key(sample))) open.push_back(&sample);

  const int64_t batch_size = std::max<int64_t>(1, run.options.batch_size);
  const auto start = std::chrono::steady_clock::now();
  Progress progress(fmt::format("evaluating {} ({})", run.options.benchmark, run.pruned ? "pruned" : "dense"),
                    int64_t(samples.size()), "questions", int64_t(samples.size() - open.size()));
  for (size_t first = 0; first < open.size(); first += size_t(batch_size)) {
    const size_t last = std::min(open.size(), first + size_t(batch_size));
    std::vector<ModelInput> inputs;
    for (size_t i = first; i < last; ++i) inputs.push_back(processor.prepare(*open[i]));
    const std::vector<runtime::Generated> generated = engine.generate(inputs, benchmark.max_new_tokens);
    for (size_t i = first; i < last; ++i)
      journal.add(*open[i], processor.text_of(generated[i - first].tokens), run.model);
    journal.flush();
    progress.tick(int64_t(last - first));
  }
  progress.finish();
  EvaluationResult result = result_of(benchmark, {run.answers.string(), journal.answers()});
  result.model = run.model;
  result.pruned = run.pruned;
  result.batch_size = batch_size;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

EvaluationResult score_answers(const OpenBenchmark& benchmark, const fs::path& answers) {
  return result_of(benchmark, read_answers(answers, benchmark));
}

EvaluationResult score_answers(const std::vector<Sample>& samples, const fs::path& answers, const EvaluateOptions& options) {
  OpenBenchmark benchmark;
  benchmark.benchmark = &benchmark_named(options.benchmark);
  require(benchmark.benchmark->name == "vqa", "benchmark {}: its files say more than samples hold", options.benchmark);
  benchmark.protocol = "llava";
  benchmark.samples = std::make_shared<const std::vector<Sample>>(samples);
  benchmark.score = [&samples](const Answers& given) { return score_plain(samples, given); };
  benchmark.key_of = [] { return KeyOf(question_id_text); };
  return score_answers(benchmark, answers);
}

Json evaluation_to_json(const std::vector<EvaluationResult>& results) {
  Json list = Json::array();
  for (const EvaluationResult& result : results) {
    Json categories = Json::object();
    for (const auto& [name, value] : result.categories) categories[name] = value;
    Json entry{{"benchmark", result.benchmark}, {"protocol", result.protocol}};
    if (!result.rule.empty()) entry["rule"] = result.rule;
    entry["model"] = result.model;
    entry["pruned"] = result.pruned;
    entry["count"] = result.count;
    entry["score"] = result.scored ? Json(result.score) : Json();
    entry["categories"] = std::move(categories);
    if (!result.details.empty()) {
      entry["details"] = Json::object();
      for (const auto& [name, value] : result.details) entry["details"][name] = value;
    }
    entry["batch_size"] = result.batch_size;
    entry["seconds"] = result.seconds;
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
    result.count = get_int(entry, "count", where, 0, int64_t(1) << 40);
    result.rule = get_string_or(entry, "rule", where, "");
    result.scored = has(entry, "score") || !entry.contains("score");
    if (result.scored) result.score = get_number(entry, "score", where);
    for (const auto& [name, value] : get_object(entry, "categories", where).items()) {
      require(value.is_number(), "{}: categories.{}: expected a number, found {}", where, name, value.dump());
      result.categories.emplace_back(name, value.get<double>());
    }
    if (has(entry, "details"))
      for (const auto& [name, value] : get_object(entry, "details", where).items())
        result.details.emplace_back(name, get_int(entry["details"], name, where, INT64_MIN, INT64_MAX));
    result.batch_size = get_int_or(entry, "batch_size", where, 1, int64_t(1) << 30, 1);
    result.seconds = get_number_or(entry, "seconds", where, 0);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace yopo
