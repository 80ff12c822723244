#include <algorithm>

#include "core/error.h"
#include "evaluation/benchmarks/benchmark.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/mme/score.h"

namespace yopo {

namespace {

// The sums of a category.
enum Sum : size_t { kRight, kQuestions, kBoth, kPairs, kSums };

using Categories = std::map<std::string, size_t>;  // category -> its first sum

SummedScores scores_of(const Categories& categories, const double* sums) {
  SummedScores made;
  double &perception = made.categories["perception"], &cognition = made.categories["cognition"];
  for (size_t i = 0; i < mme_categories().size(); ++i) {
    const auto found = categories.find(mme_categories()[i]);
    if (found == categories.end()) continue;
    const double* of = sums + found->second;
    const double points = 100 * quotient(of[kRight], of[kQuestions]) + 100 * quotient(of[kBoth], of[kPairs]);
    made.categories[found->first] = points;
    (i < kMmePerception ? perception : cognition) += points;
  }
  made.score = perception;
  return made;
}

ScoreSums sums_of(const OpenBenchmark& /*benchmark*/, const Answers& /*answers*/, const Score& score) {
  const Categories categories = sums_of_categories(score, kSums);
  ScoreSums sums;
  sums.size = categories.size() * kSums;
  sums.beside.assign(sums.size, 0.0);
  sums.of = [&score, categories](const std::vector<size_t>& pair) {
    const size_t at = categories.at(score.groups[pair[0]][0]);
    double right = 0;
    for (const size_t i : pair) right += score.values[i];
    return Additions{{at + kRight, right},
                     {at + kQuestions, double(pair.size())},
                     {at + kBoth, right == 2 ? 1.0 : 0.0},
                     {at + kPairs, 1.0}};
  };
  sums.scores = [categories](const double* own) { return scores_of(categories, own); };
  return sums;
}

/// What would end the field or the line for the scripts that read it.
std::string one_field(std::string text) {
  for (char& c : text)
    if (c == '\t' || c == '\n' || c == '\r') c = ' ';
  return text;
}

/// A folder of {category}.txt, lines `image.txt\tquestion\tlabel\tanswer` of questions as the folder has them; tabs and
/// line ends inside an answer become spaces.
void submit(const Mme& data, const Answers& answers, const fs::path& target) {
  std::map<std::string, std::string> files;  // category -> lines
  for (const Sample& sample : data.samples) {
    const size_t slash = sample.key.find('/'), end = sample.key.find('\n');
    ensure(slash < end && end != std::string::npos, "an MME question's key is category/image, newline, question");
    files[sample.category] +=
        fmt::format("{}.txt\t{}\t{}\t{}\n", sample.key.substr(slash + 1, end - slash - 1), sample.key.substr(end + 1),
                    sample.answers.at(0), one_field(answer_to(sample, answers)));
  }
  for (const auto& [category, lines] : files) write_text(target / (category + ".txt"), lines);
}

void add_to_sample(const OpenBenchmark& /*benchmark*/, const Sample& sample, const std::string& /*answer*/,
                   double value, Json& line) {
  const auto& names = mme_categories();
  const bool cognition =
      std::find(names.begin(), names.end(), sample.category) - names.begin() >= ptrdiff_t(kMmePerception);
  line[cognition ? "mme_cognition_score" : "mme_perception_score"] =
      Json{{"question_id", question_id_json(sample.id, sample.integer_id)},
           {"category", sample.category},
           {"score", value_json(value)}};
}

void add_to_results(const OpenBenchmark& /*benchmark*/, const Score& score, Json& metrics) {
  for (const auto& [name, value] : score.categories)
    if (name == "cognition" || name == "perception") metrics[fmt::format("mme_{}_score,none", name)] = value;
}

void open_mme(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_mme(source), source.dataset.samples,
                           [](const Mme& mme, size_t i) { return std::to_string(mme.questions[i].pair); });
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol.name](const Answers& answers) {
    return score_mme(*data, answers, protocol);
  };
  into.submit = [data](const Answers& answers, const fs::path& target) { submit(*data, answers, target); };
  into.key_of = [data]() -> KeyOf {
    return [data](const Json& record, const std::string& where) {
      return find_mme_key(*data, question_id_text(record, where), get_string(record, "prompt", where));
    };
  };
}

}  // namespace

const Benchmark& mme_benchmark() {
  static const Benchmark benchmark{
      .name = "mme",
      .protocols = {{}, {.name = "lmms", .about = "as lmms-eval", .max_new_tokens = 16, .reworded = true}},
      .headline = "perception points",
      .points = true,
      .folder_of_questions = true,
      .open = open_mme,
      .resampling = {.unit = "pairs", .by_category = true, .sums = sums_of},
      .submission = Submission::Folder,
      .lmms = {.add_to_sample = add_to_sample, .add_to_results = add_to_results},
      .published = published_scores({1510.7, 1492.8, 1483.6, 1429.6}, {1531.3, 1558.0, 1457.3, 1426.2})};
  return benchmark;
}

}  // namespace yopo
