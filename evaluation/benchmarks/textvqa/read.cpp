#include "evaluation/benchmarks/textvqa/read.h"

#include "core/error.h"
#include "evaluation/benchmarks/vqa_text.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::string_view kOcr = "Reference OCR token:";

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t at = 0;;) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    if (end == std::string_view::npos) return lines;
    at = end + 1;
  }
}

bool has_ocr(std::string_view prompt) { return prompt.find(fmt::format("{} ", kOcr)) != std::string_view::npos; }

/// The line of the prompt that is the question, as written.
std::string_view question_line(std::string_view prompt, const std::string& where) {
  const std::vector<std::string_view> lines = lines_of(prompt);
  const bool ocr = lines.size() == 3 && has_ocr(prompt);
  require(lines.size() == 2 || ocr, "{}: expected a prompt of 2 lines, or of 3 with '{} ', found {}", where, kOcr,
          lines.size());
  return ocr && prompt.starts_with(kOcr) ? lines[1] : lines[0];
}

/// str.capitalize but for letters whose title case is no upper case of their own (ASCII only is changed).
std::string capitalize(std::string_view text) {
  std::string out = lower(text);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z') out[0] = char(out[0] - 'a' + 'A');
  return out;
}

}  // namespace

std::string textvqa_question(std::string_view prompt, const std::string& where) {
  return lower(question_line(prompt, where));
}

std::string textvqa_key(std::string_view image_id, std::string_view lower_question) {
  return fmt::format("{}\n{}", image_id, lower_question);
}

TextVqa read_textvqa(const BenchmarkSource& source) {
  TextVqa data;
  ImageFolder images(source);
  data.samples = read_question_lines(source, images, true);

  std::unordered_map<std::string, std::vector<std::string>> annotations;
  for (const fs::path& path : annotation_paths(source, "TextVQA_0.5.1_val.json")) {
    const Json json = read_json(path);
    int64_t number = 0;
    for (const Json& record : get_array(json, "data", path.string())) {
      const std::string where = fmt::format("{}: data {}", path.string(), number++);
      std::vector<std::string> answers;
      for (const Json& answer : get_array(record, "answers", where)) {
        require(answer.is_string(), "{}: answers: expected texts, found {}", where, printable(answer.dump()));
        answers.push_back(answer.get<std::string>());
      }
      require(answers.size() == kAnnotators, "{}: answers: expected those of {} annotators, found {}", where,
              kAnnotators, answers.size());
      annotations[textvqa_key(id_of(record, "image_id", where), lower(get_string(record, "question", where)))] =
          std::move(answers);
    }
  }
  std::unordered_map<std::string, int64_t> counts;
  for (Sample& sample : data.samples) {
    const std::string_view question = question_line(sample.text, sample.where);
    const std::string key = textvqa_key(sample.id, lower(question));
    const auto found = annotations.find(key);
    require(found != annotations.end(), "{}: image {} has no annotation of the question '{}' in {}", sample.where,
            printable(sample.id), printable(question), source.dataset.annotations.string());
    sample.answers = found->second;
    sample.key = repeated_key(key, ++counts[key]);
    if (source.protocol.reworded) sample.text = capitalize(question) + std::string(source.protocol.request);
    data.with_ocr += has_ocr(sample.text) ? 1 : 0;
  }
  return data;
}

}  // namespace yopo
