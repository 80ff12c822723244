// Small benchmarks in their own file formats, and answers to them.
#pragma once

#include "core/error.h"
#include "evaluation/benchmarks/open.h"
#include "tests/support/temporary.h"

namespace yopo::testing {

class SmallBenchmarks {
 public:
  fs::path operator/(const std::string& name) const { return folder_ / name; }
  const fs::path& path() const { return folder_.path(); }

  /// POPE: splits of questions with these labels, such as {{"random", "yyn"}}; ids count through.
  OpenBenchmark pope(const std::vector<std::pair<std::string, std::string>>& splits, const std::string& protocol = "") {
    std::string questions;
    int id = 0;
    for (const auto& [split, labels] : splits) {
      std::string lines;
      for (const char label : labels) {
        questions += fmt::format(R"({{"question_id": {0}, "image": "a.jpg", "text": "Is {0}?", "category": "{1}"}})",
                                 id++, split) +
                     "\n";
        lines += label == 'y' ? "{\"label\": \"yes\"}\n" : "{\"label\": \"no\"}\n";
      }
      write_file(folder_ / ("coco/coco_pope_" + split + ".json"), lines);
    }
    write_file(folder_ / "pope.jsonl", questions);
    return open("pope", "pope.jsonl", "coco", protocol);
  }

  /// MME: categories of images 1, 2, ... with a question A (yes) and a question B (no).
  OpenBenchmark mme(const std::vector<std::pair<std::string, int>>& categories) {
    for (const auto& [category, images] : categories)
      for (int i = 1; i <= images; ++i)
        write_file(folder_ / fmt::format("MME/{}/{}.txt", category, i),
                   "Is A?  Please answer yes or no.\tYes\nIs B? Please answer yes or no.\tNo\n");
    return open("mme", "", "MME");
  }

  OpenBenchmark gqa() {
    write_file(folder_ / "g.jsonl", R"({"question_id": "201", "image": "n1.jpg", "text": "t"})"
                                    "\n"
                                    R"({"question_id": "202", "image": "n1.jpg", "text": "t"})"
                                    "\n");
    write_file(folder_ / "g.json", R"({"201": {"answer": "red", "isBalanced": true, "types": {"structural": "query"}},
      "202": {"answer": "no", "isBalanced": true, "types": {"structural": "verify"}}})");
    return open("gqa", "g.jsonl", "g.json");
  }

  /// VQAv2: questions 1 (yes/no, all "yes") and 2 (number, all "2"); `listed`: 3 and 4 beside them on a full list.
  OpenBenchmark vqav2(bool annotated, bool listed) {
    std::string questions, annotations, list;
    for (int id = 1; id <= 4; ++id) {
      const std::string line = fmt::format(R"({{"question_id": {}, "image": "a.jpg", "text": "t"}})", id) + "\n";
      if (id <= 2) questions += line;
      list = line + list;  // another order than the questions'
      if (id > 2 && !listed) continue;
      std::string answers;
      for (int k = 0; k < 10; ++k)
        answers += fmt::format(R"({}{{"answer": "{}"}})", k == 0 ? "" : ",", id == 2 ? "2" : id == 4 ? "" : "yes");
      annotations += fmt::format(R"({}{{"question_id": {}, "answer_type": "{}", "answers": [{}]}})", id == 1 ? "" : ",",
                                 id, id == 2 ? "number" : "yes/no", answers);
    }
    write_file(folder_ / "v.jsonl", questions);
    write_file(folder_ / "v.json", "{\"annotations\": [" + annotations + "]}");
    write_file(folder_ / "full.jsonl", list);
    const std::string both =
        (annotated ? "v.json" : "") + std::string(annotated && listed ? "," : "") + (listed ? "full.jsonl" : "");
    return open("vqav2", "v.jsonl", both);
  }

  /// ScienceQA: 1 (image) and 2 are asked, 3 is not; B is right.
  OpenBenchmark scienceqa() {
    write_file(folder_ / "s.json",
               R"([{"id": "1", "image": "1.png", "conversations": [{"from": "human", "value": "<image>\nQ"}]},
      {"id": "2", "conversations": [{"from": "human", "value": "Q"}]}])");
    std::string problems;
    for (int id = 1; id <= 3; ++id)
      problems += fmt::format(R"({}"{}": {{"choices": ["a", "b"], "answer": 1}})", id == 1 ? "" : ",", id);
    write_file(folder_ / "sqa/problems.json", "{" + problems + "}");
    write_file(folder_ / "sqa/pid_splits.json", R"({"test": ["1", "2", "3"]})");
    return open("scienceqa", "s.json", "sqa");
  }

  /// MMBench: groups 1 (category x, two rotations), 2 (x) and 3 (y).
  OpenBenchmark mmbench(bool annotated = true) {
    const std::string head =
        fmt::format("index\tquestion\thint\tA\tB\tC\tD\t{}category\timage\tsource\tl2-category\tcomment\tsplit\n",
                    annotated ? "answer\t" : "");
    std::string rows;
    for (const auto& [index, answer, name] :
         {std::tuple(1, "A", "x"), {2, "B", "x"}, {3, "A", "y"}, {1000001, "B", "x"}})
      rows += fmt::format("{}\t\"What\tis it?\"\tlook\tcat & <dog>\tbird\t\t\t{}{}\t{}\ts\tl\tnone\tdev\n", index,
                          annotated ? std::string(answer) + "\t" : "", name, "/9j/AAAA");
    write_file(folder_ / "m.tsv", head + rows);
    return open("mmbench", "m.tsv", "");
  }

  /// Answers by id: LLaVA's lines, as --answers reads them.
  fs::path answer_file(const std::string& name, const std::vector<std::pair<Json, std::string>>& answers) {
    std::string lines;
    for (const auto& [id, text] : answers) lines += Json{{"question_id", id}, {"text", text}}.dump() + "\n";
    write_file(folder_ / name, lines);
    return folder_ / name;
  }
  Answers answers(const OpenBenchmark& benchmark, const std::string& name,
                  const std::vector<std::pair<Json, std::string>>& given) {
    return read_answers(answer_file(name, given), benchmark);
  }
  /// One answer a question, in their order.
  static Answers in_order(const OpenBenchmark& benchmark, const std::vector<std::string>& texts,
                          const std::string& where = "answers.jsonl") {
    Answers made{where, {}};
    for (size_t i = 0; i < texts.size(); ++i) made.text[question_key(benchmark.samples->at(i))] = texts[i];
    return made;
  }

 private:
  OpenBenchmark open(const std::string& name, const std::string& questions, const std::string& annotations,
                     const std::string& protocol = "") {
    EvaluateOptions options;
    options.benchmark = name;
    options.protocol = protocol;
    if (!questions.empty()) options.dataset.questions = folder_ / questions;
    std::string paths;
    for (size_t at = 0; at < annotations.size();) {
      const size_t end = std::min(annotations.find(',', at), annotations.size());
      paths += (paths.empty() ? "" : ",") + (folder_ / annotations.substr(at, end - at)).string();
      at = end + 1;
    }
    if (!paths.empty()) options.dataset.annotations = paths;
    return open_benchmark(options, false);
  }
  TemporaryFolder folder_;
};

}  // namespace yopo::testing
