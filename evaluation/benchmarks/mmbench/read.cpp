#include "evaluation/benchmarks/mmbench/read.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "core/progress.h"
#include "formats/tsv.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::string_view kAsked = "ABCD";  // the options LLaVA's script knows

/// What LLaVA's script takes for no value: pandas' missing ones, and any case of nan and none.
bool missing(std::string_view text) {
  if (is_pandas_missing(text)) return true;
  const std::string lowered = lower(text);
  return lowered == "nan" || lowered == "none";
}

std::optional<int64_t> integer_of(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || text.empty()) return std::nullopt;
  return value;
}

class Reader {
 public:
  Reader(const fs::path& file, std::string_view request)
      : table_(read_tsv(file)), file_(file.string()), request_(request) {
    index_ = table_.at("index");
    question_ = table_.at("question");
    image_ = table_.at("image");
    table_.at("A");
    for (char letter = 'A'; letter <= 'Z'; ++letter)
      if (const auto column = table_.find(std::string(1, letter))) letters_.emplace_back(letter, *column);
  }

  Mmbench read() {
    Mmbench data;
    IdIndex ids;
    for (const TsvRow& row : table_.rows) {
      where_ = fmt::format("{}:{}", file_, row.line);
      const std::string_view index = text(row, index_);
      const std::optional<int64_t> number = integer_of(index);
      require(number.has_value(), "{}: index: expected an integer, found '{}'", where_, printable(index));
      Sample sample;
      sample.where = where_;
      sample.id = std::to_string(*number);
      sample.integer_id = true;
      ids.add(sample.id, where_);
      rows_.emplace(*number, &row);
      MmbenchQuestion question;
      question.index = *number;
      ask(row, sample, question);
      sample.category = question.category = optional(row, "category");
      question.l2_category = optional(row, "l2-category");
      label(row, sample, question);
      data.samples.push_back(std::move(sample));
      data.questions.push_back(std::move(question));
    }
    require(!data.samples.empty(), "{}: no questions", file_);
    for (size_t i = 0; i < data.samples.size(); ++i) add_image(table_.rows[i], data.samples[i]);
    finish(data);
    return data;
  }

 private:
  std::string_view text(const TsvRow& row, size_t column) const {
    const std::string_view found = table_.text(row.fields[column]);
    require(valid_utf8(found), "{}: {}: not UTF-8", where_, table_.columns[column]);
    return found;
  }

  std::string optional(const TsvRow& row, std::string_view name) const {
    const std::optional<size_t> column = table_.find(name);
    if (!column) return "";
    const std::string_view found = text(row, *column);
    return is_pandas_missing(found) ? "" : std::string(found);
  }

  void ask(const TsvRow& row, Sample& sample, MmbenchQuestion& question) const {
    const std::string_view words = text(row, question_);
    require(!is_pandas_missing(words), "{}: question: expected a text, found '{}'", where_, printable(words));
    std::string prompt(words);
    if (const auto hint = table_.find("hint"); hint && !missing(text(row, *hint)))
      prompt = fmt::format("{}\n{}", text(row, *hint), prompt);
    bool stopped = false;
    for (const auto& [letter, column] : letters_) {
      const std::string_view option = text(row, column);
      if (!is_pandas_missing(option)) question.choices.emplace_back(letter, option);
      stopped = stopped || missing(option);
      if (stopped || kAsked.find(letter) == std::string_view::npos) continue;
      prompt += fmt::format("\n{}. {}", letter, option);
      question.letters += letter;
      sample.options.emplace_back(option);
    }
    sample.prompt = prompt;
    sample.text = prompt + request_;
  }

  void label(const TsvRow& row, Sample& sample, MmbenchQuestion& question) {
    const std::string answer = optional(row, "answer");
    if (answer.empty()) return;
    const bool known = answer.size() == 1 && std::any_of(letters_.begin(), letters_.end(),
                                                         [&](const auto& one) { return one.first == answer[0]; });
    std::vector<char> letters;
    for (const auto& [letter, column] : letters_) letters.push_back(letter);
    require(known, "{}: answer: expected one of {}, found '{}'", where_, fmt::join(letters, ", "), printable(answer));
    const std::string_view own = text(row, *table_.find(answer));
    require(!own.empty(), "{}: answer: '{}' is the letter of no option: its field is empty", where_, answer);
    question.answer = answer[0];
    sample.answers = {answer};
    // What looks like no value ("None", "NA", "nan") is an option's own words where it is the right one.
    if (is_pandas_missing(own)) {
      question.choices.emplace_back(question.answer, own);
      std::sort(question.choices.begin(), question.choices.end());
    }
    if (question.letters.find(question.answer) == std::string::npos && right_not_asked_++ == 0)
      first_not_asked_ = where_;
  }

  void add_image(const TsvRow& row, Sample& sample) const {
    const TsvRow* source = &row;
    // Rotations may share the image of their main row: they name its index instead of repeating it.
    if (const std::optional<int64_t> other = integer_of(table_.text(row.fields[image_]))) {
      const auto found = rows_.find(*other);
      require(found != rows_.end(), "{}: image: no row has the index {}", sample.where, *other);
      source = found->second;
    }
    const TsvField& field = source->fields[image_];
    const std::string place = sample.where + ": image";
    require(!field.own, "{}: not base64: a quote inside", place);
    const EncodedImage image{table_.file, field.offset, field.size};
    check_image(image, place);
    sample.encoded = {image};
  }

  void finish(Mmbench& data) const {
    const auto labelled = [](const MmbenchQuestion& question) { return question.answer != 0; };
    data.annotated = std::any_of(data.questions.begin(), data.questions.end(), labelled);
    int64_t dropped = 0;
    for (size_t i = 0; i < data.samples.size(); ++i) {
      MmbenchQuestion& question = data.questions[i];
      require(!data.annotated || labelled(question), "{}: answer: expected a letter, found none",
              data.samples[i].where);
      question.scored = rows_.contains(question.index % kMmbenchRotation);
      dropped += question.scored ? 0 : 1;
    }
    if (right_not_asked_ > 0)
      warn(fmt::format(
          "{}: {} right options are not among those asked, the first at {}: LLaVA's script asks A to D, and "
          "stops at a text that looks like none",
          file_, right_not_asked_, first_not_asked_));
    if (dropped > 0)
      warn(fmt::format("{}: {} rows are rotations of a question whose main row is absent; they are not scored", file_,
                       dropped));
  }

  Tsv table_;
  std::string file_, request_, where_, first_not_asked_;
  int64_t right_not_asked_ = 0;
  size_t index_ = 0, question_ = 0, image_ = 0;
  std::vector<std::pair<char, size_t>> letters_;  // option columns in the order of the alphabet
  std::unordered_map<int64_t, const TsvRow*> rows_;
};

}  // namespace

Mmbench read_mmbench(const BenchmarkSource& source) {
  require(!source.dataset.questions.empty(), "questions: no TSV is given");
  return Reader(source.dataset.questions, source.protocol.request).read();
}

}  // namespace yopo
