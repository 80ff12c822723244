#include "evaluation/lmms_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "evaluation/benchmarks/mme/read.h"
#include "evaluation/benchmarks/pope/score.h"
#include "text/unicode.h"

namespace yopo {

namespace {

const std::vector<std::string> kPopeMetrics = {"pope_accuracy", "pope_precision", "pope_recall", "pope_f1_score",
                                               "pope_yes_ratio"};

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json id_json(const Sample& sample) {
  int64_t number = 0;
  const char* end = sample.id.data() + sample.id.size();
  if (sample.integer_id && std::from_chars(sample.id.data(), end, number).ptr == end) return number;
  return sample.id;
}

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

Json number_or_null(double value) { return std::isnan(value) ? Json() : Json(value); }

bool cognition(const std::string& category) {
  const auto& names = mme_categories();
  return std::find(names.begin(), names.end(), category) - names.begin() >= ptrdiff_t(kMmePerception);
}

void add_metric(Json& line, const OpenBenchmark& benchmark, const Sample& sample, const std::string& answer,
                double value) {
  const std::string& name = benchmark.benchmark->name;
  const Json score = number_or_null(value), id = id_json(sample);
  if (name == "pope") {
    const YesNo said = pope_answer(answer, benchmark.protocol);
    const std::string prediction = said == YesNo::Yes  ? "yes"
                                   : said == YesNo::No ? "no"
                                                       : std::string(strip(lower(answer)));
    const Json one{
        {"question_id", id}, {"score", score}, {"prediction", prediction}, {"ground_truth", target_of(sample)}};
    for (const std::string& metric : kPopeMetrics) line[metric] = one;
  } else if (name == "mme") {
    line[cognition(sample.category) ? "mme_cognition_score" : "mme_perception_score"] =
        Json{{"question_id", id}, {"category", sample.category}, {"score", score}};
  } else if (name == "mmbench") {
    line["gpt_eval_score"] = Json{{"index", id},
                                  {"prediction", std::string(strip(answer))},
                                  {"answer", sample.answers.empty() ? Json() : Json(sample.answers[0])},
                                  {"category", sample.category},
                                  {"score", score}};
  } else {
    line["exact_match"] = score;
  }
}

/// Over all splits together, which is how lmms-eval scores POPE.
void add_pope(Json& metrics, const OpenBenchmark& benchmark, const Score& score) {
  int64_t true_yes = 0, false_yes = 0, false_no = 0, right = 0, labelled = 0;
  for (size_t i = 0; i < score.values.size(); ++i) {
    right += score.values[i] == 1 ? 1 : 0;
    labelled += target_of((*benchmark.samples)[i]) == "yes" ? 1 : 0;
  }
  for (const auto& [name, count] : score.details) {
    if (name.ends_with("/true_yes")) true_yes += count;
    if (name.ends_with("/false_yes")) false_yes += count;
    if (name.ends_with("/false_no")) false_no += count;
  }
  const double precision = ratio(double(true_yes), true_yes + false_yes),
               recall = ratio(double(true_yes), true_yes + false_no);
  const int64_t yes = benchmark.protocol == "lmms" ? labelled : true_yes + false_yes;
  metrics["pope_accuracy,none"] = ratio(double(right), score.count);
  metrics["pope_precision,none"] = precision;
  metrics["pope_recall,none"] = recall;
  metrics["pope_f1_score,none"] = precision + recall == 0 ? 0.0 : 2 * precision * recall / (precision + recall);
  metrics["pope_yes_ratio,none"] = ratio(double(yes), score.count);
}

Json metrics_of(const OpenBenchmark& benchmark, const Score& score, const std::string& task) {
  const std::string& name = benchmark.benchmark->name;
  const auto category = [&](const std::string& wanted) {
    for (const auto& [known, value] : score.categories)
      if (known == wanted) return value;
    return 0.0;
  };
  const auto scored = [&](double value) { return score.scored ? Json(value) : Json(); };
  Json metrics{{"alias", task}};
  if (name == "pope") {
    add_pope(metrics, benchmark, score);
  } else if (name == "mme") {
    metrics["mme_cognition_score,none"] = category("cognition");
    metrics["mme_perception_score,none"] = category("perception");
  } else if (name == "mmbench") {
    metrics["gpt_eval_score,none"] = scored(100 * score.score);
  } else {
    metrics["exact_match,none"] = scored(name == "scienceqa" ? category("total") : score.score);
  }
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
  const std::string& name = benchmark.benchmark->name;
  if (name == "vqav2") return score.scored ? "vqav2_val" : "vqav2_test";
  if (name == "mmbench") return score.scored ? "mmbench_en_dev" : "mmbench_en_test";
  return name == "textvqa" ? "textvqa_val" : name;
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
              {"question_id", id_json(samples[i])}};
    hashes.add(line["doc_hash"].get<std::string>());
    add_metric(line, benchmark, samples[i], answer, score.values[i]);
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
