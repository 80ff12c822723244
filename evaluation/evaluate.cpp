#include "evaluation/evaluate.h"

#include <chrono>
#include <fstream>
#include <map>

#include "core/progress.h"
#include "evaluation/journal.h"
#include "evaluation/vqa.h"

namespace yopo {

namespace {

constexpr int64_t kDefaultNewTokens = 128;  // BENCHMARKS.md: at most 128 new tokens

/// A question can be scored with one expected answer, or with the ten annotators' of VQAv2.
void check_expected(const Sample& sample) {
  require(!sample.answers.empty(), "{}: question {} has no expected answer; give the annotations file", sample.where,
          sample.id);
  require(sample.answers.size() == 1 || sample.answers.size() == 10,
          "{}: question {} has {} expected answers; one is scored, or the ten of VQAv2", sample.where, sample.id,
          sample.answers.size());
}

void check_benchmark(const std::string& name) {
  require(name == "vqa", "benchmark: '{}' is not one this version scores (vqa){}", name, did_you_mean(name, {"vqa"}));
}

EvaluationResult score(const std::vector<Sample>& samples, const std::map<std::string, std::string>& answers,
                       const EvaluateOptions& options, const std::string& where) {
  EvaluationResult result;
  result.benchmark = options.benchmark;
  result.protocol = "llava";
  result.batch_size = options.batch_size;
  std::map<std::string, std::pair<double, int64_t>> by_category;
  double total = 0;
  for (const Sample& sample : samples) {
    check_expected(sample);
    const auto answer = answers.find(sample.id);
    require(answer != answers.end(), "{}: no answer for question {} ({})", where, sample.id, sample.where);
    const double value = vqa_score(answer->second, sample.answers);
    total += value;
    ++result.count;
    if (!sample.category.empty()) {
      by_category[sample.category].first += value;
      ++by_category[sample.category].second;
    }
  }
  require(result.count > 0, "{}: no questions to score", where);
  result.score = total / double(result.count);
  for (const auto& [name, sum] : by_category) result.categories.emplace_back(name, sum.first / double(sum.second));
  return result;
}

}  // namespace

EvaluationResult evaluate(const runtime::Engine& engine, const Processor& processor, const EvaluationRun& run) {
  check_benchmark(run.options.benchmark);
  const std::vector<Sample> samples = read_samples(run.options.dataset);
  for (const Sample& sample : samples) check_expected(sample);  // before the expensive part, not after it
  AnswerJournal journal(run.answers, run.fingerprint);
  std::vector<const Sample*> open;
  for (const Sample& sample : samples)
    if (!journal.answers().contains(sample.id)) open.push_back(&sample);

  const int64_t limit = run.options.max_new_tokens > 0 ? run.options.max_new_tokens : kDefaultNewTokens;
  const int64_t batch_size = std::max<int64_t>(1, run.options.batch_size);
  const auto start = std::chrono::steady_clock::now();
  Progress progress(fmt::format("evaluating {} ({})", run.options.benchmark, run.pruned ? "pruned" : "dense"),
                    int64_t(samples.size()), "questions", int64_t(samples.size() - open.size()));
  for (size_t first = 0; first < open.size(); first += batch_size) {
    const size_t last = std::min(open.size(), first + size_t(batch_size));
    std::vector<ModelInput> inputs;
    for (size_t i = first; i < last; ++i)
      inputs.push_back(processor.prepare(open[i]->text, open[i]->images, open[i]->where));
    const std::vector<runtime::Generated> generated = engine.generate(inputs, limit);
    for (size_t i = first; i < last; ++i)
      journal.add(*open[i], processor.text_of(generated[i - first].tokens), run.model);
    journal.flush();
    progress.tick(int64_t(last - first));
  }
  progress.finish();
  EvaluationResult result = score(samples, journal.answers(), run.options, run.answers.string());
  result.model = run.model;
  result.pruned = run.pruned;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

EvaluationResult score_answers(const std::vector<Sample>& samples, const fs::path& answers, const EvaluateOptions& options) {
  check_benchmark(options.benchmark);
  std::map<std::string, std::string> given;
  std::map<std::string, bool> asked;
  for (const Sample& sample : samples) asked[sample.id] = true;
  for (const JsonLine& line : read_json_lines(answers)) {
    const std::string where = fmt::format("{}:{}", answers.string(), line.line);
    const std::string id = question_id_text(line.value, where);
    require(asked.contains(id), "{}: question_id {} is not among the questions", where, id);
    if (given.contains(id)) warn(fmt::format("{}: question_id {} is answered again; the last answer counts", where, id));
    given[id] = get_string(line.value, "text", where);
  }
  return score(samples, given, options, answers.string());
}

Json evaluation_to_json(const std::vector<EvaluationResult>& results) {
  Json list = Json::array();
  for (const EvaluationResult& result : results) {
    Json categories = Json::object();
    for (const auto& [name, value] : result.categories) categories[name] = value;
    list.push_back({{"benchmark", result.benchmark}, {"protocol", result.protocol}, {"model", result.model},
                    {"pruned", result.pruned}, {"count", result.count}, {"score", result.score},
                    {"categories", categories}, {"batch_size", result.batch_size}, {"seconds", result.seconds}});
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
    result.score = get_number(entry, "score", where);
    for (const auto& [name, value] : get_object(entry, "categories", where).items()) {
      require(value.is_number(), "{}: categories.{}: expected a number, found {}", where, name, value.dump());
      result.categories.emplace_back(name, value.get<double>());
    }
    result.batch_size = get_int_or(entry, "batch_size", where, 1, int64_t(1) << 30, 1);
    result.seconds = get_number_or(entry, "seconds", where, 0);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace yopo
