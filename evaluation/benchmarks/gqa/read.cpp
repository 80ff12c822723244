#include "evaluation/benchmarks/gqa/read.h"

#include "core/error.h"

namespace yopo {

Gqa read_gqa(const BenchmarkSource& source) {
  Gqa data;
  ImageFolder images(source);
  data.samples = read_question_lines(source, images);
  data.questions.resize(data.samples.size());
  std::unordered_map<std::string, size_t> asked;
  for (size_t i = 0; i < data.samples.size(); ++i) asked.emplace(data.samples[i].id, i);

  for (const fs::path& path : annotation_paths(source, "testdev_balanced_questions.json")) {
    const Json json = read_json(path);
    require(json.is_object(), "{}: expected an object of questions by id", path.string());
    int64_t others = 0;  // balanced questions that are not asked; the unbalanced never are
    for (const auto& [id, record] : json.items()) {
      const std::string where = fmt::format("{}: {}", path.string(), printable(id));
      const auto found = asked.find(id);
      if (found == asked.end()) {
        others += record.is_object() && record.value("isBalanced", Json()) == true ? 1 : 0;
        continue;
      }
      require(has(record, "isBalanced"), "{}: 'isBalanced' is missing", where);
      const bool balanced = get_bool_or(record, "isBalanced", where, false);
      Sample& sample = data.samples[found->second];
      require(sample.answers.empty(), "{}: question {} is annotated twice", where, printable(id));
      sample.answers = {get_string(record, "answer", where)};
      const std::string structural = get_string(get_object(record, "types", where), "structural", where + ": types");
      check_label(structural, {"query", "verify", "choose", "logical", "compare"}, "types.structural", where);
      data.questions[found->second] = {balanced, structural == "query"};
    }
    note_others(path, others, source.dataset.questions);
  }
  for (const Sample& sample : data.samples)
    require(!sample.answers.empty(), "{}: question {} has no annotation in {}", sample.where, printable(sample.id),
            source.dataset.annotations.string());
  return data;
}

}  // namespace yopo
