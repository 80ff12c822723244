#include "evaluation/journal.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "evaluation/evaluate.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

Sample sample(const std::string& id, const std::string& text, const std::string& answer, const std::string& category) {
  Sample s;
  s.id = id;
  s.integer_id = true;
  s.text = text;
  s.category = category;
  s.answers = {answer};
  s.where = "questions.jsonl:" + id;
  return s;
}

TEST(Journal, ContinuesWhereItStopped) {
  const TemporaryFolder folder;
  const fs::path file = folder / "answers/vqa.jsonl";
  {
    AnswerJournal journal(file, "abc");
    journal.add(sample("1", "q1", "", ""), "yes", "m");
    journal.add(sample("2", "q2", "", ""), "no \"quoted\"\n", "m");
    journal.flush();
    journal.add(sample("3", "q3", "", ""), "never flushed", "m");
  }
  AnswerJournal again(file, "abc");
  const std::map<std::string, std::string> expected{{"1", "yes"}, {"2", "no \"quoted\"\n"}};
  EXPECT_EQ(again.answers(), expected);
}

TEST(Journal, DropsALineThatAKillCutShort) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a.jsonl";
  {
    AnswerJournal journal(file, "abc");
    journal.add(sample("1", "q1", "", ""), "yes", "m");
    journal.flush();
  }
  const std::string whole = read_file(file);
  write_file(file, whole + "{\"question_id\": 2, \"te");
  {
    AnswerJournal journal(file, "abc");
    EXPECT_EQ(journal.answers().size(), 1u);
    journal.add(sample("2", "q2", "", ""), "no", "m");
    journal.flush();
  }
  AnswerJournal again(file, "abc");
  EXPECT_EQ(again.answers().size(), 2u);
  EXPECT_EQ(again.answers().at("2"), "no");
}

TEST(Journal, RefusesAnotherModelsAnswersAndKeepsThem) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a.jsonl";
  {
    AnswerJournal journal(file, "abc");
    journal.add(sample("1", "q1", "", ""), "yes", "m");
    journal.flush();
  }
  const std::string before = read_file(file);
  EXPECT_USER_ERROR(AnswerJournal(file, "other"), "another model");
  EXPECT_EQ(read_file(file), before);
}

// Answers must not be written through a link into somebody's file, and a pipe without a reader must not stop the run.
TEST(Journal, IsARegularFileOrNothing) {
  const TemporaryFolder folder;
  write_file(folder / "outside.jsonl", "theirs\n");
  fs::create_symlink(folder / "outside.jsonl", folder / "link.jsonl");
  EXPECT_USER_ERROR(AnswerJournal(folder / "link.jsonl", "abc"), "it is a symbolic link, expected a regular file");
  ASSERT_EQ(mkfifo((folder / "pipe.jsonl").c_str(), 0600), 0);
  EXPECT_USER_ERROR(AnswerJournal(folder / "pipe.jsonl", "abc"), "it is a pipe, expected a regular file");
  fs::create_directory(folder / "folder.jsonl");
  EXPECT_USER_ERROR(AnswerJournal(folder / "folder.jsonl", "abc"), "it is a folder, expected a regular file");
  EXPECT_EQ(read_file(folder / "outside.jsonl"), "theirs\n");
  for (const char* name : {"link.jsonl", "pipe.jsonl", "outside.jsonl"})
    EXPECT_FALSE(fs::exists(folder / (std::string(name) + ".fingerprint"))) << name;
}

TEST(Journal, IsHeldByOneRunAtATime) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a.jsonl";
  {
    AnswerJournal first(file, "abc");
    EXPECT_USER_ERROR(AnswerJournal(file, "abc"), "another yopo is writing answers");
    first.add(sample("1", "q1", "", ""), "yes", "m");
    first.flush();
  }
  EXPECT_EQ(AnswerJournal(file, "abc").answers().size(), 1u);
}

TEST(Journal, IsArrangedInTheOrderOfTheQuestions) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a.jsonl";
  const Sample one = sample("1", "q1", "", ""), two = sample("2", "q2", "", ""), three = sample("3", "q3", "", ""),
               four = sample("4", "q4", "", "");
  std::string expected;
  {
    AnswerJournal journal(folder / "b.jsonl", "abc");
    for (const Sample* asked : {&one, &two, &three}) journal.add(*asked, "answer to " + asked->id, "m");
    journal.arrange({&one, &two, &three});
    expected = read_file(folder / "b.jsonl");
  }
  {
    AnswerJournal journal(file, "abc");
    journal.add(three, "answer to 3", "m");
    journal.add(one, "answer to 1", "m");
    journal.flush();
  }
  AnswerJournal journal(file, "abc");  // of a run that continues
  journal.add(two, "answer to 2", "m");
  EXPECT_THROW(journal.arrange({&one, &two, &three, &four}), InternalError);
  journal.arrange({&one, &two, &three});
  EXPECT_EQ(read_file(file), expected);
  EXPECT_EQ(read_file(file.string() + ".fingerprint"), "abc\n");
  EXPECT_EQ(AnswerJournal(file, "abc").answers().size(), 3u) << "still a journal";
}

TEST(Journal, OfAnswersToOneQuestionTheLastIsArranged) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a.jsonl";
  const Sample one = sample("1", "q1", "", "");
  write_file(file, R"({"question_id": 1, "text": "first"})"
                   "\n"
                   R"({"question_id": 1, "text": "second"})"
                   "\n");
  write_file(file.string() + ".fingerprint", "abc\n");
  AnswerJournal(file, "abc").arrange({&one});
  EXPECT_EQ(read_file(file), R"({"question_id": 1, "text": "second"})"
                             "\n");
}

TEST(Journal, WithoutAnswersIsAnyones) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a.jsonl";
  { AnswerJournal journal(file, "abc"); }
  { AnswerJournal journal(file, "other"); }
  EXPECT_EQ(read_file(file.string() + ".fingerprint"), "other\n");
  write_file(file, "{\"question_id\": 1, \"te");  // of a first answer, cut short: nobody's whose seal is gone
  fs::remove(file.string() + ".fingerprint");
  EXPECT_USER_ERROR(AnswerJournal(file, "other"), "is missing");
}

TEST(Journal, RefusesDamageInTheMiddle) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a.jsonl";
  write_file(file, "{\"question_id\": 1, \"text\": \"a\"}\nrubbish\n{\"question_id\": 2, \"text\": \"b\"}\n");
  write_file(file.string() + ".fingerprint", "abc\n");
  EXPECT_USER_ERROR(AnswerJournal(file, "abc"), "a.jsonl:2");
}

TEST(ScoreAnswers, CountsPerCategoryAndNamesWhatIsMissing) {
  const TemporaryFolder folder;
  const fs::path file = folder / "said.jsonl";
  const auto questions = [&](const std::string& expected_of_2) {
    write_file(folder / "q.jsonl", R"({"question_id": 1, "text": "q", "category": "exist", "answer": "Yes"})"
                                   "\n"
                                   R"({"question_id": 2, "text": "q", "category": "count")" +
                                       expected_of_2 +
                                       "}\n"
                                       R"({"question_id": 3, "text": "q", "category": "count", "answer": "4"})"
                                       "\n");
    EvaluateOptions options;
    options.dataset.questions = folder / "q.jsonl";
    return open_benchmark(options, false);
  };
  const OpenBenchmark benchmark = questions(R"(, "answer": "3")");
  EXPECT_EQ(benchmark.benchmark->name, "vqa");  // the default
  write_file(file,
             "{\"question_id\": 1, \"text\": \"yes\"}\n{\"question_id\": 2, \"text\": \"three\"}\n"
             "{\"question_id\": 3, \"text\": \"5\"}\n{\"question_id\": 3, \"text\": \"6\"}\n");
  const EvaluationResult result = score_answers(benchmark, file);
  EXPECT_EQ(result.count, 3);
  EXPECT_DOUBLE_EQ(result.score, 2.0 / 3.0);
  const std::vector<std::pair<std::string, double>> expected{{"count", 0.5}, {"exist", 1.0}};
  EXPECT_EQ(result.categories, expected);

  write_file(file, "{\"question_id\": 1, \"text\": \"yes\"}\n");
  EXPECT_USER_ERROR(score_answers(benchmark, file), "no answer for question 2");
  write_file(file, "{\"question_id\": 9, \"text\": \"yes\"}\n");
  EXPECT_USER_ERROR(score_answers(benchmark, file), "question_id 9");
  EXPECT_USER_ERROR(questions(R"(, "answers": ["3", "three", "3"])"), "question 2 has 3 expected answers");
  EXPECT_USER_ERROR(questions(""), "question 2 has no expected answer");
}

TEST(EvaluationJson, RoundTrips) {
  EvaluationResult result;
  result.benchmark = "vqa";
  result.protocol = "llava";
  result.model = "model";
  result.pruned = true;
  result.count = 10;
  result.score = 0.5;
  result.categories = {{"a", 0.25}};
  result.batch_size = 4;
  result.shard = "2/3";
  result.points = true;
  result.seconds = 1.5;
  result.seconds_model = 1.25;
  result.seconds_waited = 0.125;
  const Json json = evaluation_to_json({result});
  EXPECT_EQ(json["results"][0]["shard"], "2/3");
  EXPECT_EQ(json["results"][0]["unit"], "points");
  EXPECT_EQ(json["results"][0]["seconds_model"], 1.25);
  EXPECT_FALSE(json["results"][0].contains("seconds_prepare"));
  EXPECT_EQ(evaluation_to_json(evaluation_from_json(json, "eval.json")), json);
}

}  // namespace
}  // namespace yopo
