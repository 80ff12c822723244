#include "evaluation/benchmarks/vqav2/read.h"

#include "core/error.h"
#include "evaluation/benchmarks/vqa_text.h"

namespace yopo {

namespace {

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

struct Annotations {
  std::unordered_map<std::string, Annotation> by_id;
  std::vector<std::string> order;  // ids as they stand in the file
};

/// Adds those of the wanted questions; how many others there are is noted.
void add_annotations(Annotations& annotations, const fs::path& path, const std::unordered_set<std::string>& wanted,
                     const fs::path& questions) {
  const std::string file = path.string();
  const Json json = read_json(path);
  int64_t number = 0, others = 0;
  for (const Json& record : get_array(json, "annotations", file)) {
    const std::string where = fmt::format("{}: annotation {}", file, number++);
    const std::string id = id_of(record, "question_id", where);
    if (!wanted.contains(id)) {
      ++others;
      continue;
    }
    const auto [first, fresh] = annotations.by_id.emplace(id, Annotation{});
    require(fresh, "{}: question {} is annotated by {} already", where, printable(id),
            fresh ? "" : first->second.where);
    first->second = annotation_of(record, where);
    annotations.order.push_back(id);
  }
  note_others(path, others, questions);
}

}  // namespace

VqaV2 read_vqav2(const BenchmarkSource& source) {
  VqaV2 data;
  ImageFolder images(source);
  data.samples = source.dataset.questions.extension() == ".json" ? official_questions(source, images)
                                                                 : read_question_lines(source, images);
  std::unordered_set<std::string> wanted;  // asked or listed: the official annotations are of the whole set
  for (const Sample& sample : data.samples) wanted.insert(sample.id);
  IdIndex listed;
  fs::path list;
  std::vector<fs::path> labels;
  for (const fs::path& path : annotation_paths(source, "")) {
    if (path.extension() == ".json") {
      labels.push_back(path);
      continue;
    }
    list = path;
    for (const JsonLine& line : read_json_lines(path)) {
      const std::string where = fmt::format("{}:{}", path.string(), line.line);
      bool integer = false;
      const std::string id = id_of(line.value, "question_id", where, &integer);
      listed.add(id, where);
      wanted.insert(id);
      data.full_list.emplace_back(id, integer);
    }
  }
  Annotations annotations;
  for (const fs::path& path : labels) add_annotations(annotations, path, wanted, source.dataset.questions);
  data.annotated = !labels.empty();
  for (Sample& sample : data.samples) {
    wanted.erase(sample.id);
    require(list.empty() || listed.contains(sample.id), "{}: question {} is not on the full list {}", sample.where,
            sample.id, list.string());
    data.questions.emplace_back();
    if (!data.annotated) continue;
    const auto found = annotations.by_id.find(sample.id);
    require(found != annotations.by_id.end(), "{}: question {} has no annotation in {}", sample.where, sample.id,
            labels.back().string());
    data.questions.back().answer_type = found->second.answer_type;
    sample.answers = std::move(found->second.answers);
  }
  for (const std::string& id : annotations.order) {
    if (!wanted.contains(id)) continue;
    Annotation& one = annotations.by_id.at(id);
    data.unasked.push_back({std::move(one.answer_type), std::move(one.answers)});
  }
  return data;
}

}  // namespace yopo
