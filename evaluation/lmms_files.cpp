#include "evaluation/lmms_files.h"

#include <algorithm>

namespace yopo {

namespace {

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// Always a text, as there: the expected answer, or the JSON list of several.
std::string target_of(const Sample& sample) {
  if (sample.answers.size() == 1) return sample.answers[0];
  return sample.answers.empty() ? "" : dumped(Json(sample.answers));
}

std::string hash_of(const Sample& sample) {
  Fingerprint hash;
  hash.add(sample.id).add(sample.text);
  for (const std::string& answer : sample.answers) hash.add(answer);
  return hash.hex();
}

Json metrics_of(const OpenBenchmark& benchmark, const Score& score, const std::string& task) {
  const auto scored = [&](double value) { return score.scored ? Json(value) : Json(); };
  Json metrics{{"alias", task}};
  if (const auto own = benchmark.benchmark->lmms.add_to_results)
    own(benchmark, score, metrics);
  else
    metrics["exact_match,none"] = scored(score.score);
  metrics["headline,none"] = scored(score.score);
  for (const auto& [known, value] : score.categories) metrics[known + ",none"] = value;
  return metrics;
}

}  // namespace

void check_lmms_date(const std::string& date) {
  const bool known = std::all_of(date.begin(), date.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' ||
           c == '.';
  });
  require(!date.empty() && known && date[0] != '.' && date.size() <= 64,
          "date: expected the files' prefix, such as 20260131_235959, found '{}'", printable(date));
}

std::string lmms_task(const OpenBenchmark& benchmark, const Score& score) {
  const auto& [task, unlabelled, sample, results] = benchmark.benchmark->lmms;
  if (!score.scored && !unlabelled.empty()) return unlabelled;
  return task.empty() ? benchmark.benchmark->name : task;
}

void write_lmms_files(const OpenBenchmark& benchmark, const Answers& answers, const LmmsRun& run,
                      const fs::path& folder) {
  check_lmms_date(run.date);
  const Score score = benchmark.score(answers);
  const std::string task = lmms_task(benchmark, score);
  const std::vector<Sample>& samples = *benchmark.samples;
  ensure(score.values.size() == samples.size(), "a metric's values are not those of the samples");

  AtomicFile lines(folder / fmt::format("{}_samples_{}.jsonl", run.date, task));
  Fingerprint hashes;
  for (size_t i = 0; i < samples.size(); ++i) {
    const auto found = answers.text.find(question_key(samples[i]));  // ScienceQA may lack some
    const std::string answer = found == answers.text.end() ? "" : found->second;
    Json line{{"doc_id", i},
              {"target", target_of(samples[i])},
              {"input", samples[i].text},
              {"filtered_resps", Json::array({answer})},
              {"doc_hash", hash_of(samples[i])},
              {"question_id", question_id_json(samples[i].id, samples[i].integer_id)}};
    hashes.add(line["doc_hash"].get<std::string>());
    if (const auto own = benchmark.benchmark->lmms.add_to_sample)
      own(benchmark, samples[i], answer, score.values[i], line);
    else
      line["exact_match"] = value_json(score.values[i]);
    lines.write(dumped(line) + "\n");
  }

  Json results{{"results", {{task, metrics_of(benchmark, score, task)}}}};
  Json config{{"task", task}, {"benchmark", benchmark.benchmark->name}, {"protocol", benchmark.protocol}};
  if (!benchmark.rule.empty()) config["rule"] = benchmark.rule;
  config["max_new_tokens"] = benchmark.max_new_tokens;
  results["configs"] = Json{{task, std::move(config)}};
  results["n-samples"] = Json{{task, {{"original", samples.size()}, {"effective", score.count}}}};
  results["config"] = Json{{"model", "yopo"}, {"model_args", run.model}, {"batch_size", run.batch_size}};
  results["date"] = run.date;
  results["model_name"] = run.model;
  results["task_hashes"] = Json{{task, hashes.hex()}};
  lines.commit();
  write_json(folder / fmt::format("{}_results.json", run.date), results);
}

}  // namespace yopo
