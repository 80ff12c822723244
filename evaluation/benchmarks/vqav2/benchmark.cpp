#include <algorithm>

#include "core/error.h"
#include "evaluation/benchmarks/benchmark.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/record_array.h"
#include "evaluation/benchmarks/vqa_text.h"
#include "evaluation/benchmarks/vqav2/score.h"

namespace yopo {

namespace {

/// JSON [{question_id, answer}], answers EvalAI-normalised, in the order of the full list (of the questions where none
/// is given); listed questions that were not asked get "".
void submit(const VqaV2& data, const Answers& answers, const fs::path& target) {
  std::unordered_map<std::string, const Sample*> asked;
  std::vector<std::pair<std::string, bool>> ids = data.full_list;
  for (const Sample& sample : data.samples) {
    asked.emplace(sample.id, &sample);
    if (data.full_list.empty()) ids.emplace_back(sample.id, sample.integer_id);
  }
  RecordArray file(target);
  for (const auto& [id, integer] : ids) {
    const auto found = asked.find(id);
    file.add(Json{{"question_id", question_id_json(id, integer)},
                  {"answer", found == asked.end() ? "" : evalai_normalize(answer_to(*found->second, answers))}});
  }
  file.commit();
}

auto find(const std::vector<std::pair<std::string, int64_t>>& list, const std::string& name) {
  return std::find_if(list.begin(), list.end(), [&](const auto& one) { return one.first == name; });
}

/// What of the full list was not asked counts as it is: the difference between the scores and the questions asked.
ScoreSums sums_of(const OpenBenchmark& /*benchmark*/, const Answers& /*answers*/, const Score& score) {
  std::map<std::string, MeanPart> beside;
  const auto add = [&](const std::string& type, double mean, double all) {
    double sum = 0, count = 0;
    for (size_t i = 0; i < score.values.size(); ++i) {
      if (!type.empty() && score.groups[i][0] != type) continue;
      sum += score.values[i];
      ++count;
    }
    if (all != count) beside[type] = {mean * all - sum, all - count};
  };
  add("", score.score, double(score.count));
  for (const auto& [type, mean] : score.categories) {
    const auto all = find(score.details, type);
    ensure(all != score.details.end(), "a type of answers without its count");
    add(type, mean, double(all->second));
  }
  return mean_sums(score, beside);
}

void open_vqav2(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_vqav2(source), source.dataset.samples);
  into.samples = samples_of(data);
  into.labelled = data->annotated;
  into.score = [data, protocol = source.protocol.name](const Answers& answers) {
    return score_vqav2(*data, answers, protocol);
  };
  into.submit = [data](const Answers& answers, const fs::path& target) { submit(*data, answers, target); };
}

}  // namespace

const Benchmark& vqav2_benchmark() {
  static const Benchmark benchmark{.name = "vqav2",
                                   .protocols = {{}, {.name = "lmms", .about = "as lmms-eval", .max_new_tokens = 16}},
                                   .headline = "mean soft accuracy",
                                   .open = open_vqav2,
                                   .resampling = {.sums = sums_of},
                                   .submission = Submission::File,
                                   .lmms = {.task = "vqav2_val", .unlabelled_task = "vqav2_test"},
                                   .published = published_scores({78.5, 79.2, 78.0, 77.4}, {80.0, 79.7, 78.9, 78.1})};
  return benchmark;
}

}  // namespace yopo
