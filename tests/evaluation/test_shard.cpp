#include "evaluation/shard.h"

#include <gtest/gtest.h>

#include "evaluation/journal.h"
#include "evaluation/merge_answers.h"
#include "tests/evaluation/small_benchmarks.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::SmallBenchmarks;
using testing::write_file;

TEST(Shard, IsReadAsKOfN) {
  EXPECT_EQ(parse_shard("2/3", "--shard").text(), "2/3");
  EXPECT_TRUE(parse_shard("1/1", "--shard").whole());
  EXPECT_FALSE(parse_shard("1/2", "--shard").whole());
  EXPECT_EQ(parse_shard("1000000/1000000", "--shard").number, 1000000);
  for (const char* bad : {"", "/", "1", "0/3", "4/3", "-1/3", "1/", "/3", "1/3/3", "a/3", "1/3 ", " 1/3", "1/0",
                          "1.0/3", "1/1000001", "99999999999999999999/99999999999999999999"})
    EXPECT_USER_ERROR(parse_shard(bad, "--shard"), "--shard: expected K/N");
}

TEST(Shard, TakesQuestionsByTurns) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.pope({{"random", "yynyn"}, {"popular", "ny"}});
  EXPECT_EQ(shards_of(benchmark, 3), (std::vector<int64_t>{1, 2, 3, 1, 2, 3, 1}));
  EXPECT_EQ(shards_of(benchmark, 1), std::vector<int64_t>(7, 1));
  EXPECT_EQ(shards_of(benchmark, 9), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7}));
}

TEST(Shard, QuestionsOfOneIdAreApartByTheirPrompts) {
  SmallBenchmarks files;
  EXPECT_EQ(shards_of(files.mme({{"count", 2}}), 4), (std::vector<int64_t>{1, 2, 3, 4}));
}

// Only the order of their lines tells repeated questions apart, so one file must hold them all.
TEST(Shard, RepeatedQuestionsStayTogether) {
  const testing::TemporaryFolder folder;
  std::string lines, data;
  for (const char* question : {"what?", "who?", "what?", "why?"})
    lines += fmt::format("{{\"question_id\": \"a\", \"image\": \"a.jpg\", \"text\": \"{}\\nS\"}}\n", question);
  for (const char* question : {"what?", "who?", "why?"})
    data +=
        fmt::format(R"({}{{"image_id": "a", "question": "{}", "answers": ["x","x","x","x","x","x","x","x","x","x"]}})",
                    data.empty() ? "" : ",", question);
  write_file(folder / "q.jsonl", lines);
  write_file(folder / "a.json", "{\"data\": [" + data + "]}");
  EvaluateOptions options;
  options.benchmark = "textvqa";
  options.dataset.questions = folder / "q.jsonl";
  options.dataset.annotations = folder / "a.json";
  EXPECT_EQ(shards_of(open_benchmark(options, false), 2), (std::vector<int64_t>{1, 2, 1, 2}));
  EXPECT_EQ(shards_of(open_benchmark(options, false), 3), (std::vector<int64_t>{1, 2, 1, 1}));
}

TEST(Shard, SealsAreWrittenAndRead) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ((AnswerSeal{"f00", {2, 3}}.text()), "f00 shard 2/3");
  EXPECT_EQ((AnswerSeal{"f00", {}}.text()), "f00");
  EXPECT_EQ(read_seal(folder / "a.jsonl").fingerprint, "");
  write_file(folder / "a.jsonl.fingerprint", "f00 shard 2/3\n");
  EXPECT_EQ(read_seal(folder / "a.jsonl").text(), "f00 shard 2/3");
  for (const char* bad : {"f00 shard 5/3\n", "f00 shard\n shard 1/2", "\n", " shard 1/2\n"}) {
    write_file(folder / "a.jsonl.fingerprint", bad);
    EXPECT_USER_ERROR(read_seal(folder / "a.jsonl"), "a.jsonl.fingerprint: expected");
  }
}

class MergeShards : public ::testing::Test {
 protected:
  /// The journal of a shard of a run, with answers to those of its questions that `answered` names.
  fs::path shard(const std::string& name, const Shard& of, const std::vector<size_t>& answered,
                 const std::string& fingerprint = "f00") {
    AnswerJournal journal(files_ / name, AnswerSeal{fingerprint, of}.text());
    for (const size_t i : answered) journal.add((*benchmark_.samples)[i], "yes", "m");
    journal.flush();
    return files_ / name;
  }
  void merge(const std::vector<fs::path>& files) { merge_answers(files, benchmark_, files_ / "all.jsonl"); }

  SmallBenchmarks files_;
  OpenBenchmark benchmark_ = files_.pope({{"random", "yynyn"}});
};

TEST_F(MergeShards, GiveTheFileOfTheWholeRun) {
  const fs::path whole = shard("whole.jsonl", {}, {0, 1, 2, 3, 4});
  merge({shard("b.jsonl", {2, 3}, {1, 4}), shard("c.jsonl", {3, 3}, {2}), shard("a.jsonl", {1, 3}, {0, 3})});
  EXPECT_EQ(read_file(files_ / "all.jsonl"), read_file(whole));
  EXPECT_EQ(read_file(files_ / "all.jsonl.fingerprint"), read_file(seal_of(whole)));
}

TEST_F(MergeShards, AreAllThereOnce) {
  const fs::path one = shard("a.jsonl", {1, 3}, {0, 3}), two = shard("b.jsonl", {2, 3}, {1, 4}),
                 again = shard("again.jsonl", {2, 3}, {1, 4}), three = shard("c.jsonl", {3, 3}, {2});
  EXPECT_USER_ERROR(merge({one, three}), "merge: shard 2/3 is missing; the files are 2 of the 3 shards");
  EXPECT_USER_ERROR(merge({three}), "merge: shard 1/3, 2/3 is missing");
  EXPECT_USER_ERROR(merge({one, two, three, again}),
                    "merge: " + two.string() + " and " + again.string() + " are both shard 2/3");
  EXPECT_USER_ERROR(merge({one, two, two}), "b.jsonl is given twice");
  EXPECT_FALSE(fs::exists(files_ / "all.jsonl"));
}

TEST_F(MergeShards, AreOfOneRunAndDivision) {
  const fs::path one = shard("a.jsonl", {1, 2}, {0, 2, 4}), foreign = shard("b.jsonl", {2, 2}, {1, 3}, "f01"),
                 third = shard("c.jsonl", {2, 3}, {1, 4}), whole = shard("d.jsonl", {}, {0, 1, 2, 3, 4});
  EXPECT_USER_ERROR(merge({one, foreign}), "fingerprints f00 and f01");
  EXPECT_USER_ERROR(merge({one, third}), "a.jsonl is shard 1/2, " + third.string() + " is shard 2/3");
  EXPECT_USER_ERROR(merge({one, whole}), "a.jsonl is shard 1/2, " + whole.string() + " is no shard");
  EXPECT_USER_ERROR(merge({whole, one}), "d.jsonl is no shard, " + one.string() + " is shard 1/2");
}

TEST_F(MergeShards, HoldTheirOwnQuestionsAndAllOfThem) {
  const fs::path one = shard("a.jsonl", {1, 2}, {0, 2, 4}), half = shard("b.jsonl", {2, 2}, {1}),
                 wrong = shard("c.jsonl", {2, 2}, {1, 2});
  EXPECT_USER_ERROR(merge({one, half}), "1 of 5 questions are answered in none of the files: 3");
  EXPECT_USER_ERROR(merge({one, half}), half.string() + " (shard 2/2) is not finished");
  EXPECT_USER_ERROR(merge({one, wrong}), "c.jsonl:2: question_id 2 belongs to shard 1/2, but the file is shard 2/2");
  EXPECT_FALSE(fs::exists(files_ / "all.jsonl"));
}

TEST_F(MergeShards, DoNotTakeUpEachOthersJournals) {
  shard("a.jsonl", {1, 2}, {0});
  EXPECT_USER_ERROR(AnswerJournal(files_ / "a.jsonl", "f00 shard 2/2"), "another model");
  EXPECT_USER_ERROR(AnswerJournal(files_ / "a.jsonl", "f00"), "another model");
}

}  // namespace
}  // namespace yopo
