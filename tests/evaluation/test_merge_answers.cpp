#include "evaluation/merge_answers.h"

#include <gtest/gtest.h>

#include "tests/evaluation/small_benchmarks.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::SmallBenchmarks;
using testing::write_file;

class MergeAnswers : public ::testing::Test {
 protected:
  OpenBenchmark pope() { return files_.pope({{"random", "yyn"}}); }
  void seal(const std::string& name, const std::string& fingerprint) {
    write_file(files_ / (name + ".fingerprint"), fingerprint + "\n");
  }
  SmallBenchmarks files_;
};

TEST_F(MergeAnswers, MakeOneFileInTheOrderOfTheQuestions) {
  const OpenBenchmark benchmark = pope();
  const std::string second =
      R"({"question_id":1,"prompt":"Is 1?","text":"no","answer_id":"x","model_id":"m","metadata":{}})"
      "\n";
  write_file(files_ / "a.jsonl", R"({"question_id": "2", "text": "no"})"
                                 "\n" +
                                     second);
  write_file(files_ / "b.jsonl", R"({"question_id":0,"text":"yés"})"
                                 "\n" +
                                     second);
  seal("a.jsonl", "f00");
  seal("b.jsonl", "f00");
  EXPECT_EQ(merge_answers({files_ / "a.jsonl", files_ / "b.jsonl"}, benchmark, files_ / "out/all.jsonl"), 3);
  EXPECT_EQ(read_file(files_ / "out/all.jsonl"),
            "{\"question_id\":0,\"text\":\"yés\"}\n" + second + "{\"question_id\":\"2\",\"text\":\"no\"}\n");
  EXPECT_EQ(read_file(files_ / "out/all.jsonl.fingerprint"), "f00\n");
  // A run of the same fingerprint takes it for its journal.
  const AnswerJournal journal(files_ / "out/all.jsonl", "f00", benchmark.key_of());
  EXPECT_EQ(journal.answers().size(), 3u);
}

TEST_F(MergeAnswers, TakeTheLastLineOfAFile) {
  const OpenBenchmark benchmark = pope();
  const fs::path one = files_.answer_file("a.jsonl", {{0, "yes"}, {1, "yes"}, {0, "no"}, {2, "no"}});
  merge_answers({one}, benchmark, files_ / "all.jsonl");
  EXPECT_EQ(read_answers(files_ / "all.jsonl", benchmark).text.at("0"), "no");
  EXPECT_FALSE(fs::exists(files_ / "all.jsonl.fingerprint"));
  // What the line before said counts for nothing, here or in another file.
  const fs::path two = files_.answer_file("b.jsonl", {{0, "no"}});
  EXPECT_EQ(merge_answers({one, two}, benchmark, files_ / "all.jsonl"), 3);
}

TEST_F(MergeAnswers, RefuseTwoAnswersNamingBothLines) {
  const OpenBenchmark benchmark = pope();
  const fs::path one = files_.answer_file("a.jsonl", {{0, "yes"}, {1, "yes"}});
  const fs::path two = files_.answer_file("b.jsonl", {{2, "no"}, {2, "no"}, {1, "Yes"}});
  EXPECT_USER_ERROR(merge_answers({one, two}, benchmark, files_ / "all.jsonl"),
                    one.string() + ":2 and " + two.string() + ":3: two answers to question_id 1: 'yes' and 'Yes'");
  EXPECT_FALSE(fs::exists(files_ / "all.jsonl"));
}

TEST_F(MergeAnswers, NameTheQuestionsWithoutAnswer) {
  const OpenBenchmark benchmark = pope();
  const fs::path one = files_.answer_file("a.jsonl", {{1, "yes"}});
  const std::string questions = (files_ / "pope.jsonl").string();
  EXPECT_USER_ERROR(merge_answers({one}, benchmark, files_ / "all.jsonl"),
                    fmt::format("2 of 3 questions are answered in none of the files: 0 ({0}:1), 2 ({0}:3)", questions));
  EXPECT_USER_ERROR(merge_answers({files_.answer_file("b.jsonl", {{7, "yes"}})}, benchmark, files_ / "all.jsonl"),
                    "b.jsonl:1: question_id 7 is not among the questions");
  EXPECT_FALSE(fs::exists(files_ / "all.jsonl"));
}

TEST_F(MergeAnswers, RefuseFilesOfDifferentModels) {
  const OpenBenchmark benchmark = pope();
  const fs::path one = files_.answer_file("a.jsonl", {{0, "yes"}, {1, "yes"}}),
                 two = files_.answer_file("b.jsonl", {{2, "no"}});
  seal("a.jsonl", "f00");
  EXPECT_USER_ERROR(merge_answers({one, two}, benchmark, files_ / "all.jsonl"),
                    "a.jsonl.fingerprint says which model its answers are of, " + two.string() + " does not");
  EXPECT_USER_ERROR(merge_answers({two, one}, benchmark, files_ / "all.jsonl"),
                    "a.jsonl.fingerprint says which model its answers are of, " + two.string() + " does not");
  seal("b.jsonl", "f01");
  EXPECT_USER_ERROR(merge_answers({one, two}, benchmark, files_ / "all.jsonl"), "fingerprints f00 and f01");
  EXPECT_USER_ERROR(merge_answers({one, one}, benchmark, files_ / "all.jsonl"), "a.jsonl is given twice");
  EXPECT_USER_ERROR(merge_answers({}, benchmark, files_ / "all.jsonl"), "no answer files are given");
  EXPECT_FALSE(fs::exists(files_ / "all.jsonl"));
}

TEST_F(MergeAnswers, TellMmeQuestionsApartByTheirPrompts) {
  const OpenBenchmark benchmark = files_.mme({{"count", 1}});
  const auto line = [](const char* question, const char* text) {
    return Json{{"question_id", "count/1.png"}, {"prompt", question}, {"text", text}}.dump() + "\n";
  };
  write_file(files_ / "a.jsonl", line("Is B?", "no"));
  write_file(files_ / "b.jsonl", line("Is A?", "yes"));
  merge_answers({files_ / "a.jsonl", files_ / "b.jsonl"}, benchmark, files_ / "all.jsonl");
  EXPECT_DOUBLE_EQ(benchmark.score(read_answers(files_ / "all.jsonl", benchmark)).score, 200);
}

}  // namespace
}  // namespace yopo
