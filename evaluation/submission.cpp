#include "evaluation/submission.h"

#include <algorithm>
#include <charconv>

#include "evaluation/benchmarks/vqa_text.h"
#include "formats/tsv.h"
#include "formats/xlsx.h"
#include "text/unicode.h"

namespace yopo {

namespace {

/// A JSON array of small records, one a line, without holding them all.
class RecordArray {
 public:
  explicit RecordArray(const fs::path& path) : file_(path) {}
  void add(const Json& record) {
    file_.write(first_ ? "[\n" : ",\n");
    first_ = false;
    file_.write(record.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  void commit() {
    file_.write(first_ ? "[]\n" : "\n]\n");
    file_.commit();
  }

 private:
  AtomicFile file_;
  bool first_ = true;
};

void write_vqav2(const OpenBenchmark& benchmark, const Answers& answers, const fs::path& target) {
  std::unordered_map<std::string, const Sample*> asked;
  std::vector<std::pair<std::string, bool>> ids = benchmark.full_list;
  for (const Sample& sample : *benchmark.samples) {
    asked.emplace(sample.id, &sample);
    if (benchmark.full_list.empty()) ids.emplace_back(sample.id, sample.integer_id);
  }
  RecordArray file(target);
  for (const auto& [id, integer] : ids) {
    Json record{{"question_id", id}};
    int64_t number = 0;
    if (integer && std::from_chars(id.data(), id.data() + id.size(), number).ptr == id.data() + id.size())
      record["question_id"] = number;
    const auto found = asked.find(id);
    record["answer"] = found == asked.end() ? "" : evalai_normalize(answer_to(*found->second, answers));
    file.add(record);
  }
  file.commit();
}

void write_gqa(const OpenBenchmark& benchmark, const Answers& answers, const fs::path& target) {
  RecordArray file(target);
  for (const Sample& sample : *benchmark.samples) {
    std::string_view text = answer_to(sample, answers);
    while (text.ends_with('.')) text.remove_suffix(1);
    file.add(Json{{"questionId", sample.id}, {"prediction", lower(text)}});
  }
  file.commit();
}

/// What would end the field or the line for the scripts that read it.
std::string one_field(std::string text) {
  for (char& c : text)
    if (c == '\t' || c == '\n' || c == '\r') c = ' ';
  return text;
}

void write_mme(const OpenBenchmark& benchmark, const Answers& answers, const fs::path& target) {
  std::map<std::string, std::string> files;  // category -> lines
  for (const Sample& sample : *benchmark.samples) {
    const size_t slash = sample.key.find('/'), end = sample.key.find('\n');
    ensure(slash < end && end != std::string::npos, "an MME question's key is category/image, newline, question");
    files[sample.category] +=
        fmt::format("{}.txt\t{}\t{}\t{}\n", sample.key.substr(slash + 1, end - slash - 1), sample.key.substr(end + 1),
                    sample.answers.at(0), one_field(answer_to(sample, answers)));
  }
  for (const auto& [category, lines] : files) write_text(target / (category + ".txt"), lines);
}

void write_mmbench(const OpenBenchmark& benchmark, const DatasetOptions& dataset, const Answers& answers,
                   const fs::path& target) {
  constexpr size_t prediction_column = 6;
  const std::vector<std::string> left_out = {"hint", "category", "source", "image", "comment", "l2-category"};
  const Tsv table = read_tsv(dataset.questions);
  const size_t index = table.at("index");
  std::vector<size_t> columns;
  for (size_t c = 0; c < table.columns.size(); ++c)
    if (std::find(left_out.begin(), left_out.end(), table.columns[c]) == left_out.end()) columns.push_back(c);
  const size_t place = std::min(prediction_column, columns.size());

  std::vector<std::vector<Cell>> rows(1);
  for (const size_t column : columns) rows[0].emplace_back(table.columns[column]);
  rows[0].emplace(rows[0].begin() + ptrdiff_t(place), "prediction");
  std::unordered_map<std::string, const Sample*> asked;
  for (const Sample& sample : *benchmark.samples) asked.emplace(sample.id, &sample);
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

}  // namespace

void check_submission(const std::string& benchmark) {
  require(benchmark == "vqav2" || benchmark == "gqa" || benchmark == "mme" || benchmark == "mmbench",
          "submission: benchmark {} takes no file; vqav2, gqa, mme and mmbench do", benchmark);
}

void write_submission(const OpenBenchmark& benchmark, const DatasetOptions& dataset, const Answers& answers,
                      const fs::path& target) {
  const std::string& name = benchmark.benchmark->name;
  check_submission(name);
  if (name == "vqav2")
    write_vqav2(benchmark, answers, target);
  else if (name == "gqa")
    write_gqa(benchmark, answers, target);
  else if (name == "mme")
    write_mme(benchmark, answers, target);
  else
    write_mmbench(benchmark, dataset, answers, target);
}

}  // namespace yopo
