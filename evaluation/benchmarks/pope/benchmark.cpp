#include "evaluation/benchmarks/benchmark.h"
#include "core/error.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/pope/score.h"
#include "text/unicode.h"

namespace yopo {

namespace {

// The sums of a split.
enum Sum : size_t { kTrueYes, kFalseYes, kFalseNo, kRight, kAll, kSaidYes, kLabelledYes, kSums };

using Splits = std::map<std::string, size_t>;  // split -> its first sum

bool labelled_yes(const Sample& sample) { return lower(sample.answers.at(0)) == "yes"; }

SummedScores scores_of(const Splits& splits, bool lmms, const double* sums) {
  SummedScores made;
  for (const auto& [name, at] : splits) {
    const double* of = sums + at;
    const double precision = quotient(of[kTrueYes], of[kTrueYes] + of[kFalseYes]);
    const double recall = quotient(of[kTrueYes], of[kTrueYes] + of[kFalseNo]);
    const double f1 = quotient(2 * precision * recall, precision + recall);
    made.score += f1;
    made.categories[name + "/accuracy"] = quotient(of[kRight], of[kAll]);
    made.categories[name + "/precision"] = precision;
    made.categories[name + "/recall"] = recall;
    made.categories[name + "/f1"] = f1;
    made.categories[name + "/yes_ratio"] = quotient(of[lmms ? kLabelledYes : kSaidYes], of[kAll]);
  }
  made.score = quotient(made.score, double(splits.size()));
  return made;
}

/// The table of answers and labels of each split.
ScoreSums sums_of(const OpenBenchmark& benchmark, const Answers& answers, const Score& score) {
  const Splits splits = sums_of_categories(score, kSums);
  ScoreSums sums;
  sums.size = splits.size() * kSums;
  sums.beside.assign(sums.size, 0.0);
  sums.of = [&, splits](const std::vector<size_t>& samples) {
    Additions additions;
    for (const size_t i : samples) {
      const Sample& question = (*benchmark.samples)[i];
      const YesNo said = pope_answer(answer_to(question, answers), benchmark.protocol);
      const bool yes = labelled_yes(question);
      const size_t at = splits.at(score.groups[i][0]);
      const auto add = [&](Sum sum, bool counted) { additions.emplace_back(at + sum, counted ? 1.0 : 0.0); };
      add(kTrueYes, said == YesNo::Yes && yes);
      add(kFalseYes, said == YesNo::Yes && !yes);
      add(kFalseNo, said == YesNo::No && yes);
      add(kRight, score.values[i] == 1);
      add(kAll, true);
      add(kSaidYes, said == YesNo::Yes);
      add(kLabelledYes, yes);
    }
    return additions;
  };
  sums.scores = [splits, lmms = benchmark.protocol == "lmms"](const double* own) {
    return scores_of(splits, lmms, own);
  };
  return sums;
}

void add_to_sample(const OpenBenchmark& benchmark, const Sample& sample, const std::string& answer, double value,
                   Json& line) {
  const YesNo said = pope_answer(answer, benchmark.protocol);
  const std::string prediction = said == YesNo::Yes  ? "yes"
                                 : said == YesNo::No ? "no"
                                                     : std::string(strip(lower(answer)));
  const Json one{{"question_id", question_id_json(sample.id, sample.integer_id)},
                 {"score", value_json(value)},
                 {"prediction", prediction},
                 {"ground_truth", sample.answers.at(0)}};
  for (const char* metric : {"pope_accuracy", "pope_precision", "pope_recall", "pope_f1_score", "pope_yes_ratio"})
    line[metric] = one;
}

/// Over all splits together, which is how lmms-eval scores POPE.
void add_to_results(const OpenBenchmark& benchmark, const Score& score, Json& metrics) {
  int64_t true_yes = 0, false_yes = 0, false_no = 0, right = 0, labelled = 0;
  for (size_t i = 0; i < score.values.size(); ++i) {
    right += score.values[i] == 1 ? 1 : 0;
    labelled += labelled_yes((*benchmark.samples)[i]) ? 1 : 0;
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

void open_pope(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_pope(source), source.dataset.samples);
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol.name](const Answers& answers) {
    return score_pope(*data, answers, protocol);
  };
}

}  // namespace

const Benchmark& pope_benchmark() {
  static const Benchmark benchmark{.name = "pope",
                                   .protocols = {{}, {.name = "lmms", .about = "as lmms-eval"}},
                                   .headline = "mean F1 of the splits",
                                   .open = open_pope,
                                   .resampling = {.by_category = true, .sums = sums_of},
                                   .lmms = {.add_to_sample = add_to_sample, .add_to_results = add_to_results},
                                   .table_leaves_out = {"/precision", "/recall", "/yes_ratio"},
                                   .published = published_scores({85.9, 87.3, 86.8, 86.6}, {85.9, 86.4, 86.3, 86.4})};
  return benchmark;
}

}  // namespace yopo
