#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "evaluation/benchmarks/benchmark.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/mmbench/score.h"
#include "formats/tsv.h"
#include "formats/xlsx.h"
#include "text/unicode.h"

namespace yopo {

namespace {

/// xlsx of the TSV's columns without hint, category, source, image, comment and l2-category, with `prediction` as the
/// seventh: what LLaVA's converter uploads. Rows that were not asked have no prediction.
void submit(const fs::path& questions, const Mmbench& data, const Answers& answers, const fs::path& target) {
  constexpr size_t prediction_column = 6;
  const std::vector<std::string> left_out = {"hint", "category", "source", "image", "comment", "l2-category"};
  const Tsv table = read_tsv(questions);
  const size_t index = table.at("index");
  std::vector<size_t> columns;
  for (size_t c = 0; c < table.columns.size(); ++c)
    if (std::find(left_out.begin(), left_out.end(), table.columns[c]) == left_out.end()) columns.push_back(c);
  const size_t place = std::min(prediction_column, columns.size());

  std::vector<std::vector<Cell>> rows(1);
  for (const size_t column : columns) rows[0].emplace_back(table.columns[column]);
  rows[0].emplace(rows[0].begin() + ptrdiff_t(place), "prediction");
  std::unordered_map<std::string, const Sample*> asked;
  for (const Sample& sample : data.samples) asked.emplace(sample.id, &sample);
  for (const TsvRow& row : table.rows) {
    const std::string_view digits = table.text(row.fields[index]);
    int64_t number = -1;
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    ensure(number >= 0, "the table's index was read before");
    std::vector<Cell> cells;
    for (const size_t column : columns) {
      const std::string_view text = table.text(row.fields[column]);
      if (column == index)
        cells.emplace_back(number);
      else if (is_pandas_missing(text))
        cells.emplace_back();
      else
        cells.emplace_back(std::string(text));
    }
    const auto found = asked.find(std::to_string(number));
    cells.insert(cells.begin() + ptrdiff_t(place),
                 found == asked.end() ? Cell() : Cell(answer_to(*found->second, answers)));
    rows.push_back(std::move(cells));
  }
  write_xlsx(target, rows);
}

void add_to_sample(const OpenBenchmark& /*benchmark*/, const Sample& sample, const std::string& answer, double value,
                   Json& line) {
  line["gpt_eval_score"] = Json{{"index", question_id_json(sample.id, sample.integer_id)},
                                {"prediction", std::string(strip(answer))},
                                {"answer", sample.answers.empty() ? Json() : Json(sample.answers[0])},
                                {"category", sample.category},
                                {"score", value_json(value)}};
}

void add_to_results(const OpenBenchmark& /*benchmark*/, const Score& score, Json& metrics) {
  metrics["gpt_eval_score,none"] = score.scored ? Json(100 * score.score) : Json();
}

void open_mmbench(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_mmbench(source), source.dataset.samples, [](const Mmbench& all, size_t i) {
    return std::to_string(all.questions[i].index % kMmbenchRotation);
  });
  into.samples = samples_of(data);
  into.labelled = data->annotated;
  into.score = [data, rule = into.rule](const Answers& answers) { return score_mmbench(*data, answers, rule); };
  into.submit = [data, questions = source.dataset.questions](const Answers& answers, const fs::path& target) {
    submit(questions, *data, answers, target);
  };
}

}  // namespace

const Benchmark& mmbench_benchmark() {
  static const Benchmark benchmark{
      .name = "mmbench",
      .protocols =
          {{.max_new_tokens = 1024, .request = kOptionLetter},
           {.name = "lmms", .about = "as lmms-eval", .max_new_tokens = 1024, .request = kOptionLetter, .rule = "lmms"},
           {.name = "plain", .about = "no request for a letter", .max_new_tokens = 1024, .request = ""}},
      .rules = mmbench_rules(),
      .headline = "hit rate of the groups",
      .open = open_mmbench,
      .resampling = {.unit = "groups"},
      .submission = Submission::File,
      .lmms = {.task = "mmbench_en_dev",
               .unlabelled_task = "mmbench_en_test",
               .add_to_sample = add_to_sample,
               .add_to_results = add_to_results},
      .published = published_scores({64.3, 65.4, 65.5, 64.1}, {67.7, 68.7, 67.4, 65.5})};
  return benchmark;
}

}  // namespace yopo
