#include "evaluation/benchmarks/pope/read.h"

#include <map>

#include "core/error.h"
#include "core/progress.h"

namespace yopo {

namespace {

constexpr std::string_view kStart = "coco_pope_", kEnd = ".json";

/// The order is all that joins them, so a label that speaks of another image is worth a word.
void warn_of_other_order(const Sample& sample, const Json& label, const std::string& where, bool& warned) {
  if (warned || !has(label, "text") || !label.at("text").is_string()) return;
  if (sample.text.starts_with(label.at("text").get_ref<const std::string&>())) return;
  warned = true;
  warn(fmt::format("{}: the label is for another question than {}; labels are joined by order", where, sample.where));
}

std::string text_under(const Json& record, const char* key) {
  return record.is_object() && has(record, key) && record.at(key).is_string() ? record.at(key).get<std::string>() : "";
}

/// Image and question, without the request in the lines behind it; "" where either is missing.
std::string image_and_question(const Json& record) {
  const std::string image = text_under(record, "image"), text = text_under(record, "text");
  return image.empty() || text.empty() ? "" : image + "\n" + text.substr(0, text.find('\n'));
}

/// The labels of the questions (numbers of lines among all that are asked) out of more than there are questions: by
/// image and question, as their order says nothing then.
std::vector<JsonLine> labels_of(const std::vector<JsonLine>& labels, const std::vector<size_t>& questions,
                                const fs::path& question_file, const std::string& refusal) {
  std::unordered_map<std::string, size_t> places;
  for (size_t i = 0; i < labels.size(); ++i) {
    const std::string known = image_and_question(labels[i].value);
    require(!known.empty() && places.emplace(known, i).second,
            "{}; more labels than questions are told by image and text, which line {} {}", refusal, labels[i].line,
            known.empty() ? "lacks" : "repeats");
  }
  const std::vector<JsonLine> asked = read_json_lines(question_file);
  std::vector<JsonLine> mine;
  for (const size_t number : questions) {
    const auto found = places.find(image_and_question(asked.at(number).value));
    require(found != places.end(), "{}; none is for {}:{}", refusal, question_file.string(), asked[number].line);
    mine.push_back(labels[found->second]);
  }
  return mine;
}

}  // namespace

Pope read_pope(const BenchmarkSource& source) {
  Pope data;
  ImageFolder images(source);
  data.samples = read_question_lines(source, images);
  data.questions.resize(data.samples.size());
  std::map<std::string, std::vector<size_t>> splits;  // sample numbers in order
  for (size_t i = 0; i < data.samples.size(); ++i) {
    require(!data.samples[i].category.empty(), "{}: 'category' is missing: it is the split", data.samples[i].where);
    splits[data.samples[i].category].push_back(i);
  }

  std::map<std::string, fs::path> labelled;
  for (const fs::path& path : annotation_files(source, "the folder of coco_pope_*.json", kStart, kEnd)) {
    const std::string name = path.filename().string(), file = path.string();
    require(name.starts_with(kStart) && name.ends_with(kEnd) && name.size() > kStart.size() + kEnd.size(),
            "{}: expected a name such as coco_pope_random.json: it tells the split", file);
    const std::string split = name.substr(kStart.size(), name.size() - kStart.size() - kEnd.size());
    const auto [first, fresh] = labelled.emplace(split, path);
    require(fresh, "{}: split {} has labels in {} already", file, split, first->second.string());
    const auto questions = splits.find(split);
    std::vector<JsonLine> labels = read_json_lines(path);
    const size_t asked = questions == splits.end() ? 0 : questions->second.size();
    note_others(path, int64_t(labels.size()) - int64_t(asked), source.dataset.questions);
    if (asked == 0) continue;
    const std::string refusal =
        fmt::format("{}: expected a label for each of the {} questions of split {} in {}, found {}", file, asked,
                    printable(split), source.dataset.questions.string(), labels.size());
    require(labels.size() >= asked, "{}", refusal);
    if (labels.size() > asked) labels = labels_of(labels, questions->second, source.dataset.questions, refusal);
    bool warned = false;
    for (size_t i = 0; i < labels.size(); ++i) {
      const std::string where = fmt::format("{}:{}", file, labels[i].line);
      const std::string label = get_string(labels[i].value, "label", where);
      check_label(label, {"yes", "no"}, "label", where);
      const size_t number = questions->second[i];
      warn_of_other_order(data.samples[number], labels[i].value, where, warned);
      data.samples[number].answers = {label};
      data.questions[number].yes = label == "yes";
    }
  }
  for (const auto& [split, numbers] : splits)
    require(labelled.contains(split), "{}: split {} has no labels: coco_pope_{}.json is not among the annotations",
            data.samples[numbers[0]].where, split, split);
  return data;
}

}  // namespace yopo
