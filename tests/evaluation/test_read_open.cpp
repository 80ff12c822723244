// Readers of the benchmarks with free answers: VQAv2, GQA, TextVQA.
#include <gtest/gtest.h>

#include "evaluation/benchmarks/gqa/read.h"
#include "evaluation/benchmarks/textvqa/read.h"
#include "evaluation/benchmarks/vqav2/read.h"
#include "tests/evaluation/benchmark_files.h"
#include "tests/support/captured_notes.h"

namespace yopo {
namespace {

using testing::BenchmarkFiles;

std::string ten(const std::string& answer) {
  std::string list;
  for (int i = 1; i <= 10; ++i)
    list += fmt::format(R"({}{{"answer": "{}", "answer_confidence": "yes", "answer_id": {}}})", i == 1 ? "" : ", ",
                        answer, i);
  return "[" + list + "]";
}
std::string annotation(const std::string& id, const std::string& type, const std::string& answers) {
  return fmt::format(R"({{"question_type": "what", "multiple_choice_answer": "x", "answers": {}, "image_id": 9, )"
                     R"("answer_type": "{}", "question_id": {}}})",
                     answers, type, id);
}

struct VqaV2Files : BenchmarkFiles {
  VqaV2Files() {
    source.images_needed = false;
    source.dataset.questions = write(
        "llava.jsonl",
        R"({"question_id": 262148000, "image": "COCO_val2014_000000262148.jpg", "text": "Where?\nAnswer.", "category": "default"}
{"question_id": 2, "image": "COCO_val2014_000000000009.jpg", "text": "How many?"}
)");
    annotate(annotation("2", "number", ten("2")) + "," + annotation("262148000", "other", ten("Down")));
  }
  void annotate(const std::string& list) {
    source.dataset.annotations =
        write("annotations.json", R"({"data_subtype": "val2014", "annotations": [)" + list + "]}");
  }
  VqaV2 read() const { return read_vqav2(source); }
};

TEST(ReadVqaV2, JoinsQuestionsAndAnnotations) {
  const VqaV2Files files;
  const VqaV2 data = files.read();
  ASSERT_EQ(data.samples.size(), 2u);
  EXPECT_EQ(data.samples[0].id, "262148000");
  EXPECT_EQ(data.samples[0].text, "Where?\nAnswer.");
  EXPECT_EQ(data.samples[0].answers, std::vector<std::string>(10, "Down"));
  EXPECT_EQ(data.questions[0].answer_type, "other");
  EXPECT_EQ(data.questions[1].answer_type, "number");
  EXPECT_TRUE(data.annotated);
  EXPECT_TRUE(data.unasked.empty());
  EXPECT_EQ(data.samples[1].where, files.source.dataset.questions.string() + ":2");
}

TEST(ReadVqaV2, ReadsTheOfficialQuestionFileAndNamesItsImages) {
  VqaV2Files files;
  const auto official = [&](const std::string& subtype) {
    files.source.dataset.questions = files.write(
        "q.json",
        fmt::format(
            R"({{"data_subtype": "{}", "questions": [{{"image_id": 262148, "question": "Where?", "question_id": 262148000}},
        {{"image_id": 9, "question": "How many?", "question_id": 2}}]}})",
            subtype));
  };
  official("val2014");
  files.source.images_needed = true;
  files.source.dataset.images = files / "images";
  files.write("images/COCO_val2014_000000262148.jpg", "x");
  files.write("images/000000000009.jpg", "x");  // as COCO 2017 names it
  const VqaV2 data = files.read();
  EXPECT_EQ(data.samples[0].text, "Where?\nAnswer the question using a single word or phrase.");
  EXPECT_EQ(data.samples[0].images, std::vector<fs::path>{files / "images/COCO_val2014_000000262148.jpg"});
  EXPECT_EQ(data.samples[1].images, std::vector<fs::path>{files / "images/000000000009.jpg"});
  official("test-dev2015");
  EXPECT_USER_ERROR(files.read(), "COCO_test2015_000000262148.jpg is not there");
}

TEST(ReadVqaV2, HoldsTheFullList) {
  VqaV2Files files;
  const fs::path list = files.write("full.jsonl", R"({"question_id": 7}
{"question_id": 2}
{"question_id": 262148000}
)");
  files.source.dataset.annotations = list;
  const VqaV2 test = files.read();
  EXPECT_FALSE(test.annotated);
  EXPECT_EQ(test.full_list.size(), 3u);
  EXPECT_EQ(test.full_list[0], std::pair(std::string("7"), true));
  EXPECT_TRUE(test.samples[0].answers.empty());

  files.annotate(annotation("2", "number", ten("2")) + "," + annotation("262148000", "other", ten("Down")) + "," +
                 annotation("7", "yes/no", ten("")));
  EXPECT_TRUE(files.read().unasked.empty());  // neither asked nor listed
  files.source.dataset.annotations = list.string() + "," + (files / "annotations.json").string();
  const VqaV2 both = files.read();
  ASSERT_EQ(both.unasked.size(), 1u);
  EXPECT_EQ(both.unasked[0].answer_type, "yes/no");
  files.write("full.jsonl", R"({"question_id": 2})");
  EXPECT_USER_ERROR(files.read(), "llava.jsonl:1: question 262148000 is not on the full list");
}

/// A part of the validation set is asked with the official annotations of all of it.
TEST(ReadVqaV2, LeavesOutAnnotationsOfOtherQuestions) {
  VqaV2Files files;
  files.annotate(annotation("1", "other", ten("x")) + "," + annotation("2", "number", ten("2")) + "," +
                 annotation("262148000", "other", ten("Down")) + "," + annotation("7", "surprise", "[]") + "," +
                 annotation("7", "other", ten("x")));
  const testing::CapturedNotes said;
  const VqaV2 data = files.read();
  EXPECT_EQ(data.samples[0].answers, std::vector<std::string>(10, "Down"));
  EXPECT_EQ(data.questions[1].answer_type, "number");
  EXPECT_TRUE(data.unasked.empty());
  EXPECT_TRUE(said.has("annotations.json: 3 annotations of questions that " + files.source.dataset.questions.string() +
                       " does not ask are left out"))
      << said.text();
}

TEST(ReadVqaV2, RefusesWhatDoesNotFit) {
  VqaV2Files files;
  files.annotate(annotation("2", "number", ten("2")));
  EXPECT_USER_ERROR(files.read(), "llava.jsonl:1: question 262148000 has no annotation");
  files.annotate(annotation("2", "numbr", ten("2")));
  EXPECT_USER_ERROR(files.read(),
                    "annotation 0: answer_type: expected one of yes/no, number, other, found 'numbr'; did you mean");
  files.annotate(annotation("2", "number", "[]"));
  EXPECT_USER_ERROR(files.read(), "expected those of 10 annotators, found 0");
  files.annotate(annotation("2", "number", ten("2")) + "," + annotation("2", "number", ten("2")));
  EXPECT_USER_ERROR(files.read(), "annotation 1: question 2 is annotated by");
  files.source.images_needed = true;
  EXPECT_USER_ERROR(files.read(), "llava.jsonl:1: the question has an image, but no images folder is given");
  files.source.dataset.questions = files.write("twice.jsonl", R"({"question_id": 2, "image": "a", "text": "t"}
{"question_id": "2", "image": "a", "text": "t"})");
  files.source.images_needed = false;
  EXPECT_USER_ERROR(files.read(), "twice.jsonl:2: the id 2 is taken by");
  files.source.dataset.questions = files / "llava.jsonl";
  files.source.dataset.annotations = files / "absent.json";
  EXPECT_USER_ERROR(files.read(), "absent.json is not there");
}

struct GqaFiles : BenchmarkFiles {
  GqaFiles() {
    source.images_needed = false;
    source.dataset.questions =
        write("q.jsonl", R"({"question_id": "201307251", "image": "n161313.jpg", "text": "Is it?\nS1"}
{"question_id": "5", "image": "n1.jpg", "text": "What?\nS1"}
{"question_id": "6", "image": "n1.jpg", "text": "What?\nS1"}
)");
    annotate(entries);
  }
  const std::string entries = R"("201307251": {"answer": "no", "isBalanced": true, "types": {"structural": "verify"}},
      "5": {"answer": "Dog", "isBalanced": true, "types": {"structural": "query"}},
      "6": {"answer": "cat", "isBalanced": false, "types": {"structural": "query"}},
      "8": {"answer": "cat", "isBalanced": false, "types": {"structural": "query"}})";
  void annotate(const std::string& entries) { source.dataset.annotations = write("a.json", "{" + entries + "}"); }
};

TEST(ReadGqa, JoinsQuestionsAndAnnotations) {
  const GqaFiles files;
  const Gqa data = read_gqa(files.source);
  ASSERT_EQ(data.samples.size(), 3u);
  EXPECT_EQ(data.samples[1].answers, std::vector<std::string>{"Dog"});
  EXPECT_FALSE(data.questions[0].open);
  EXPECT_TRUE(data.questions[1].open);
  EXPECT_TRUE(data.questions[1].balanced);
  EXPECT_FALSE(data.questions[2].balanced);
  EXPECT_TRUE(data.samples[0].images.empty());
}

TEST(ReadGqa, LeavesOutAnnotationsOfOtherQuestions) {
  GqaFiles files;
  files.annotate(files.entries + R"(, "9": {"answer": "no", "isBalanced": true, "types": {"structural": "verify"}},
      "10": {"isBalanced": 3}, "11": 4)");
  const testing::CapturedNotes said;
  const Gqa data = read_gqa(files.source);
  ASSERT_EQ(data.samples.size(), 3u);
  EXPECT_EQ(data.samples[0].answers, std::vector<std::string>{"no"});
  EXPECT_TRUE(said.has("a.json: 1 annotations of questions that")) << said.text();
}

TEST(ReadGqa, RefusesWhatDoesNotFit) {
  GqaFiles files;
  files.annotate(R"("5": {"answer": "no", "isBalanced": true, "types": {"structural": "verify"}})");
  EXPECT_USER_ERROR(read_gqa(files.source), "q.jsonl:1: question 201307251 has no annotation");
  files.annotate(R"("5": {"answer": "no", "isBalanced": true, "types": {"structural": "querry"}})");
  EXPECT_USER_ERROR(read_gqa(files.source), "a.json: 5: types.structural: expected one of");
  files.annotate(R"("5": {"answer": "no", "types": {"structural": "query"}})");
  EXPECT_USER_ERROR(read_gqa(files.source), "a.json: 5: 'isBalanced' is missing");
  files.source.dataset.annotations.clear();
  EXPECT_USER_ERROR(read_gqa(files.source), "expected testdev_balanced_questions.json; none is given");
}

TEST(TextVqaQuestion, TakesTheLineOfTheQuestion) {
  const auto of = [](const std::string& prompt) { return textvqa_question(prompt, "here"); };
  EXPECT_EQ(of("What IS it?\nS1"), "what is it?");
  EXPECT_EQ(of(" What?\nReference OCR token: a, b\nS1"), " what?");
  EXPECT_EQ(of("What?\nReference OCR token: \nS1"), "what?");  // the line stays when there are no tokens
  EXPECT_EQ(of("Reference OCR token: a\nWhat?\nS1"), "what?");
  EXPECT_EQ(of("\xC3\x89t\xC3\xA9?\nS1"), "\xC3\xA9t\xC3\xA9?");
  for (const char* prompt : {"What?", "What?\na\nS1", "What?\nReference OCR token:\nS1",
                             "What?\nReference OCR token: a\nS1\n", "Reference OCR token: a"})
    EXPECT_USER_ERROR(of(prompt), "here: expected a prompt of 2 lines, or of 3");
}

struct TextVqaFiles : BenchmarkFiles {
  TextVqaFiles() {
    source.images_needed = false;
    ask(R"({"question_id": "im1", "image": "im1.jpg", "text": "What IS it?\nReference OCR token: a, b\nS1"}
{"question_id": "im1", "image": "im1.jpg", "text": "who?\nReference OCR token: \nS1"}
{"question_id": "im2", "image": "im2.jpg", "text": "What is it?\nS1"}
{"question_id": "im1", "image": "im1.jpg", "text": "Who?\nReference OCR token: \nS1"}
)");
    annotate({{"im1", "what is IT?", "first"},
              {"im1", "Who?", "early"},
              {"im1", "who?", "late"},
              {"im2", "What is it?", "x"}});
  }
  void ask(const std::string& lines) { source.dataset.questions = write("q.jsonl", lines); }
  void annotate(const std::vector<std::array<std::string, 3>>& all) {
    std::string list;
    for (const auto& [image, question, answer] : all) {
      std::string answers;
      for (int i = 0; i < 10; ++i) answers += (i ? ", \"" : "\"") + answer + "\"";
      list += fmt::format(R"({}{{"image_id": "{}", "question": "{}", "answers": [{}], "question_id": 1}})",
                          list.empty() ? "" : ",", image, question, answers);
    }
    source.dataset.annotations = write("a.json", R"({"data": [)" + list + "]}");
  }
};

TEST(ReadTextVqa, JoinsOnImageAndLowerQuestion) {
  TextVqaFiles files;
  const TextVqa data = read_textvqa(files.source);
  ASSERT_EQ(data.samples.size(), 4u);
  EXPECT_EQ(data.samples[0].answers[0], "first");
  EXPECT_EQ(data.samples[1].answers[0], "late");  // the last annotation of a repeated question
  EXPECT_EQ(data.samples[3].answers[0], "late");
  EXPECT_EQ(data.samples[0].id, "im1");
  EXPECT_NE(data.samples[1].key, data.samples[3].key);
  EXPECT_EQ(data.with_ocr, 3);
  EXPECT_EQ(data.samples[0].text, "What IS it?\nReference OCR token: a, b\nS1");

  files.source.protocol = {.name = "lmms", .reworded = true};
  const TextVqa lmms = read_textvqa(files.source);
  EXPECT_EQ(lmms.with_ocr, 0);
  EXPECT_EQ(lmms.samples[0].text, "What is it?\nAnswer the question using a single word or phrase.");
}

TEST(ReadTextVqa, RefusesWhatDoesNotFit) {
  TextVqaFiles files;
  files.annotate({{"im1", "what is it? ", "first"}});  // the join does not strip
  EXPECT_USER_ERROR(read_textvqa(files.source), "q.jsonl:1: image im1 has no annotation of the question 'What IS it?'");
  files.source.dataset.annotations =
      files.write("b.json", R"({"data": [{"image_id": "im1", "question": "q", "answers": ["a"]}]})");
  EXPECT_USER_ERROR(read_textvqa(files.source), "b.json: data 0: answers: expected those of 10 annotators, found 1");
  files.ask(R"({"question_id": "im1", "image": "im1.jpg", "text": "one line"})");
  files.annotate({{"im1", "one line", "x"}});
  EXPECT_USER_ERROR(read_textvqa(files.source), "q.jsonl:1: expected a prompt of 2 lines");
}

}  // namespace
}  // namespace yopo
