#include "evaluation/benchmarks/vqav2/read.h"

#include "core/error.h"

namespace yopo {

namespace {

constexpr size_t kAnnotators = 10;

/// The official question file. The test questions share one set of images: test-dev2015 names those of test2015.
std::vector<Sample> official_questions(const BenchmarkSource& source, ImageFolder& images) {
  const fs::path& file = source.dataset.questions;
  const Json json = read_json(file);
  const std::string subtype = get_string(json, "data_subtype", file.string());
  const std::string folder = subtype == "test-dev2015" ? "test2015" : subtype;
  std::vector<Sample> samples;
  IdIndex ids;
  for (const Json& record : get_array(json, "questions", file.string())) {
    Sample sample;
    sample.where = fmt::format("{}: question {}", file.string(), samples.size());
    sample.id = id_of(record, "question_id", sample.where, &sample.integer_id);
    ids.add(sample.id, sample.where);
    sample.text = get_string(record, "question", sample.where) + std::string(source.protocol.request);
    const int64_t image = get_int(record, "image_id", sample.where, 0, 999'999'999'999);
    images.add(sample, {fmt::format("COCO_{}_{:012}.jpg", folder, image), fmt::format("{:012}.jpg", image)});
    samples.push_back(std::move(sample));
  }
  require(!samples.empty(), "{}: no questions", file.string());
  return samples;
}

struct Annotation {
  std::string where, answer_type;
  std::vector<std::string> answers;
};

Annotation annotation_of(const Json& record, const std::string& where) {
  Annotation one;
  one.where = where;
  one.answer_type = get_string(record, "answer_type", where);
  check_label(one.answer_type, {"yes/no", "number", "other"}, "answer_type", where);
  for (const Json& answer : get_array(record, "answers", where))
    one.answers.push_back(get_string(answer, "answer", where + ": answers"));
  require(one.answers.size() == kAnnotators, "{}: answers: expected those of {} annotators, found {}", where,
          kAnnotators, one.answers.size());
  return one;
}

}  // namespace

VqaV2 read_vqav2(const BenchmarkSource& source) {
  VqaV2 data;
  ImageFolder images(source);
  data.samples = source.dataset.questions.extension() == ".json" ? official_questions(source, images)
                                                                 : read_question_lines(source, images);
  std::unordered_map<std::string, Annotation> annotations;
  std::vector<std::string> order;  // of the annotations
  IdIndex listed;
  fs::path list, labels;
  for (const fs::path& path : annotation_paths(source, "")) {
    const std::string file = path.string();
    if (path.extension() == ".json") {
      data.annotated = true;
      labels = path;
      const Json json = read_json(path);
      int64_t number = 0;
      for (const Json& record : get_array(json, "annotations", file)) {
        const std::string where = fmt::format("{}: annotation {}", file, number++);
        const std::string id = id_of(record, "question_id", where);
        const auto [first, fresh] = annotations.emplace(id, Annotation{});
        require(fresh, "{}: question {} is annotated by {} already", where, id, fresh ? "" : first->second.where);
        first->second = annotation_of(record, where);
        order.push_back(id);
      }
    } else {
      list = path;
      for (const JsonLine& line : read_json_lines(path)) {
        const std::string where = fmt::format("{}:{}", file, line.line);
        bool integer = false;
        const std::string id = id_of(line.value, "question_id", where, &integer);
        listed.add(id, where);
        data.full_list.emplace_back(id, integer);
      }
    }
  }
  std::unordered_set<std::string> asked;
  for (Sample& sample : data.samples) {
    asked.insert(sample.id);
    require(list.empty() || listed.contains(sample.id), "{}: question {} is not on the full list {}", sample.where,
            sample.id, list.string());
    data.questions.emplace_back();
    if (!data.annotated) continue;
    const auto found = annotations.find(sample.id);
    require(found != annotations.end(), "{}: question {} has no annotation in {}", sample.where, sample.id,
            labels.string());
    data.questions.back().answer_type = found->second.answer_type;
    sample.answers = std::move(found->second.answers);
  }
  for (const std::string& id : order) {
    if (asked.contains(id)) continue;
    Annotation& one = annotations.at(id);
    require(listed.contains(id), "{}: question {} is annotated but not asked in {}", one.where, id,
            source.dataset.questions.string());
    data.unasked.push_back({std::move(one.answer_type), std::move(one.answers)});
  }
  return data;
}

}  // namespace yopo
