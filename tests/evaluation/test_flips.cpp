#include "evaluation/flips.h"

#include <gtest/gtest.h>

#include "evaluation/bootstrap.h"
#include "tests/evaluation/small_benchmarks.h"
#include "tests/support/close.h"

namespace yopo {
namespace {

using testing::close;
using testing::SmallBenchmarks;

constexpr double kExact = 1e-12;

AnswerComparison compared(const OpenBenchmark& benchmark, const std::vector<std::string>& before,
                          const std::vector<std::string>& after) {
  return compare_answers(benchmark, SmallBenchmarks::in_order(benchmark, before, "dense.jsonl"),
                         SmallBenchmarks::in_order(benchmark, after, "pruned.jsonl"));
}

/// before, after, low, high of a score.
std::vector<double> numbers(const AnswerComparison& comparison, const std::string& name) {
  for (const ComparedScore& one : comparison.scores)
    if (one.name == name) return {one.before, one.after, one.low, one.high};
  return {};
}

TEST(Bootstrap, DrawsAsTheGeneratorIsWrittenDown) {
  // Counts of ten units and three more in a stratum of their own, from a Python version of the generator.
  ResampledUnits units(13);
  for (size_t i = 0; i < 13; ++i) units.add(i < 10 ? "a" : "b", {{i, 1.0}});
  EXPECT_TRUE(close(units.sums(), std::vector<double>(13, 1.0), 0));
  EXPECT_TRUE(close(units.resample(0, 0), std::vector<double>{0, 3, 1, 1, 0, 0, 2, 0, 1, 2, 2, 0, 1}, 0));
  EXPECT_TRUE(close(units.resample(0, 1), std::vector<double>{0, 2, 0, 2, 1, 1, 2, 1, 0, 1, 1, 1, 1}, 0));
  EXPECT_TRUE(close(units.resample(7, 9999), std::vector<double>{0, 1, 2, 1, 0, 3, 1, 0, 0, 2, 0, 1, 2}, 0));
}

TEST(Bootstrap, DrawsEveryUnitEquallyOften) {
  constexpr size_t count = 7;
  constexpr int64_t resamples = 20'000;
  ResampledUnits units(count);
  for (size_t i = 0; i < count; ++i) units.add("", {{i, 1.0}});
  std::vector<double> sums(count, 0), squares(count, 0);
  for (int64_t r = 0; r < resamples; ++r) {
    const std::vector<double> drawn = units.resample(3, uint64_t(r));
    double all = 0;
    for (size_t i = 0; i < count; ++i) {
      sums[i] += drawn[i] / resamples;
      squares[i] += drawn[i] * drawn[i] / resamples;
      all += drawn[i];
    }
    ASSERT_EQ(all, double(count));
  }
  // Binomial(7, 1/7): mean 1, mean of squares 1 + 6/7; the standard errors are 0.0065 and 0.02.
  EXPECT_TRUE(close(sums, std::vector<double>(count, 1.0), 0.03));
  EXPECT_TRUE(close(squares, std::vector<double>(count, 1 + 6.0 / 7), 0.1));
}

TEST(Bootstrap, TakesPercentilesBetweenNeighbours) {
  const std::vector<double> values = {1, 2, 4, 8, 16};
  const std::vector<double> found = {percentile(values, 0),     percentile(values, 0.25), percentile(values, 0.3),
                                     percentile(values, 0.975), percentile(values, 1),    percentile({5}, 0.4)};
  EXPECT_TRUE(close(found, std::vector<double>{1, 2, 2.4, 15.2, 16, 5}, kExact));
}

TEST(Flips, OfEqualAnswersThereAreNone) {
  SmallBenchmarks files;
  const AnswerComparison same =
      compared(files.pope({{"random", "ynyn"}}), {"yes", "yes", "no", "no"}, {"yes", "yes", "no", "no"});
  for (const ComparedScore& one : same.scores)
    EXPECT_TRUE(close(std::vector{one.difference(), one.low, one.high}, std::vector<double>{0, 0, 0}, 0)) << one.name;
  EXPECT_TRUE(same.right_to_wrong.empty() && same.wrong_to_right.empty());
  EXPECT_EQ(same.changed, 0);
  EXPECT_EQ(same.units, 4);
}

TEST(Flips, PopeScoresEachResampleAnew) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.pope({{"adversarial", "yyn"}, {"random", "y"}});
  const AnswerComparison found = compared(benchmark, {"yes", "yes", "yes", "yes"}, {"yes", "No.", "no", "yes"});
  // Of the 27 resamples of the first split each comes with 3.7 %: the interval reaches from the worst to the best.
  double low = 1, high = -1;
  for (int draws = 0; draws < 27; ++draws) {
    int counts[3] = {0, 0, 0};
    for (const int drawn : {draws % 3, draws / 3 % 3, draws / 9}) ++counts[drawn];
    const auto f1 = [](double hit, double wrong, double missed) {
      return hit == 0 ? 0.0 : 2 * hit / (2 * hit + wrong + missed);
    };
    // The random split is right either way and counts for half of the headline.
    const double difference = (f1(counts[0], 0, counts[1]) - f1(counts[0] + counts[1], counts[2], 0)) / 2;
    low = std::min(low, difference);
    high = std::max(high, difference);
  }
  EXPECT_TRUE(close(numbers(found, "score"), std::vector<double>{(0.8 + 1) / 2, (2 / 3.0 + 1) / 2, low, high}, kExact));
  EXPECT_TRUE(close(numbers(found, "adversarial/recall"), std::vector<double>{1, 0.5, -1, 0}, kExact));
  EXPECT_TRUE(close(numbers(found, "adversarial/yes_ratio"), std::vector<double>{1, 1 / 3.0, -1, 0}, kExact));
  EXPECT_TRUE(close(numbers(found, "random/f1"), std::vector<double>{1, 1, 0, 0}, kExact));
  EXPECT_EQ(found.scores.back().name, "score");
  EXPECT_EQ(found.scores.size(), 11u);
}

TEST(Flips, PopeUnderLmmsCountsAnswersThatAreNeither) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.pope({{"random", "yyn"}}, "lmms");
  const AnswerComparison found = compared(benchmark, {"yes", "no", "no"}, {"yes", "maybe", "perhaps"});
  const std::vector<double> recall = numbers(found, "random/recall"), ratio = numbers(found, "random/yes_ratio");
  EXPECT_TRUE(close(std::vector{recall[0], recall[1]}, std::vector<double>{0.5, 1}, kExact));
  EXPECT_TRUE(close(ratio, std::vector<double>{2 / 3.0, 2 / 3.0, 0, 0}, kExact));
}

TEST(Flips, IntervalHoldsNinetyFivePercent) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.pope({{"random", "yyyyy"}});
  const AnswerComparison found =
      compared(benchmark, {"yes", "yes", "yes", "yes", "no"}, {"yes", "yes", "yes", "yes", "yes"});
  // Binomial(5, 1/5): at most 2 with 94.2 %, at most 3 with 99.3 %.
  EXPECT_TRUE(close(numbers(found, "random/accuracy"), std::vector<double>{0.8, 1, 0, 0.6}, kExact));
}

TEST(Flips, MmeDrawsPairsWithinTheirCategory) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.mme({{"count", 2}, {"OCR", 1}, {"code_reasoning", 1}});
  const std::vector<std::string> right = {"yes", "no", "yes", "no", "yes", "no", "yes", "no"};
  std::vector<std::string> worse = right;
  worse[3] = "yes";  // one of the second pair of count
  worse[6] = "no";   // one of code_reasoning
  const AnswerComparison found = compared(benchmark, right, worse);
  EXPECT_EQ(found.unit, "pairs");
  EXPECT_EQ(found.units, 4);
  EXPECT_EQ(found.questions, 8);
  // Two draws of two pairs: neither, one or both are the worse one, which lacks 50 + 100 points.
  EXPECT_TRUE(close(numbers(found, "count"), std::vector<double>{200, 125, -150, 0}, kExact));
  EXPECT_TRUE(close(numbers(found, "OCR"), std::vector<double>{200, 200, 0, 0}, kExact));
  EXPECT_TRUE(close(numbers(found, "score"), std::vector<double>{400, 325, -150, 0}, kExact));
  EXPECT_TRUE(close(numbers(found, "cognition"), std::vector<double>{200, 50, -150, -150}, kExact));
  ASSERT_EQ(found.right_to_wrong.size(), 2u);
  EXPECT_EQ(found.right_to_wrong[0].id.substr(0, 7), "count/2");
  EXPECT_EQ(found.right_to_wrong[0].question.substr(0, 5), "Is B?");
}

TEST(Flips, MmbenchDrawsGroups) {
  SmallBenchmarks files;
  const AnswerComparison found = compared(files.mmbench(), {"A", "B", "A", "B"}, {"A", "B", "A", "A"});
  EXPECT_EQ(found.unit, "groups");
  EXPECT_EQ(found.units, 3);
  EXPECT_EQ(found.questions, 4);
  // Three draws of three groups: all three the lost one with 3.7 %.
  EXPECT_TRUE(close(numbers(found, "score"), std::vector<double>{1, 2 / 3.0, -1, 0}, kExact));
  EXPECT_TRUE(close(numbers(found, "category/x"), std::vector<double>{1, 0.5, -1, 0}, kExact));
  EXPECT_TRUE(close(numbers(found, "category/y"), std::vector<double>{1, 1, 0, 0}, kExact));
  EXPECT_TRUE(close(numbers(found, "l2-category/l"), std::vector<double>{1, 2 / 3.0, -1, 0}, kExact));
  ASSERT_EQ(found.right_to_wrong.size(), 1u);
  EXPECT_EQ(found.right_to_wrong[0].id, "1000001");
}

TEST(Flips, WhatWasNotAskedStays) {
  SmallBenchmarks files;
  // Beside the two questions stand two of the full list, of which nothing is one's right answer.
  const AnswerComparison vqa = compared(files.vqav2(true, true), {"yes", "2"}, {"no", "2"});
  EXPECT_TRUE(close(numbers(vqa, "score"), std::vector<double>{0.75, 0.5, -0.5, 0}, kExact));
  const std::vector<double> type = numbers(vqa, "yes/no");
  EXPECT_TRUE(close(std::vector{type[0], type[1]}, std::vector<double>{2 / 3.0, 1 / 3.0}, kExact));
  EXPECT_EQ(vqa.units, 2);

  const OpenBenchmark science = files.scienceqa();
  const Answers right = SmallBenchmarks::in_order(science, {"B", "B"});
  Answers half = right;
  half.text.erase("1");  // the one with an image
  const AnswerComparison lost = compare_answers(science, right, half);
  EXPECT_TRUE(close(numbers(lost, "total"), std::vector<double>{2 / 3.0, 1 / 3.0, -2 / 3.0, 0}, kExact));
  EXPECT_TRUE(close(numbers(lost, "score"), std::vector<double>{1, 0, -1, 0}, kExact));
  ASSERT_EQ(lost.right_to_wrong.size(), 1u);
  EXPECT_EQ(lost.right_to_wrong[0].after, "");
}

TEST(Flips, NameBothWaysAsJsonAndAsRows) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.pope({{"random", "yynn"}});
  const AnswerComparison found = compared(benchmark, {"yes", "no", "no", "no"}, {"Yes", "yes", "yes", "no"});
  EXPECT_EQ(found.changed, 3);
  const Json json = comparison_to_json(found);
  EXPECT_EQ(json["right_to_wrong"].dump(), R"([{"question_id":2,"before":"no","after":"yes"}])");
  EXPECT_EQ(json["wrong_to_right"].dump(), R"([{"question_id":1,"before":"no","after":"yes"}])");
  EXPECT_EQ(json["before"], "dense.jsonl");
  EXPECT_EQ(json["after"], "pruned.jsonl");
  EXPECT_EQ(json["bootstrap"].dump(),
            R"({"unit":"questions","units":4,"resamples":10000,"seed":0,"confidence":0.95,"interval":"percentile"})");
  EXPECT_EQ(json["scores"].back()["name"], "score");
  EXPECT_EQ(json["changed_answers"], 3);
  EXPECT_EQ(json.dump(),
            comparison_to_json(compared(benchmark, {"yes", "no", "no", "no"}, {"Yes", "yes", "yes", "no"})).dump());

  const auto rows = comparison_rows(found);
  ASSERT_EQ(rows.size(), 7u);
  EXPECT_EQ(rows[0][0], "pope");
  EXPECT_EQ(rows[6][1], "0.6667");
  EXPECT_EQ(rows[6][3], "+0.1333");
  EXPECT_EQ(flip_rows(found, 5)[1], (std::vector<std::string>{"2", "no", "yes", "right to wrong"}));
  EXPECT_EQ(flip_rows(found, 5)[2], (std::vector<std::string>{"1", "no", "yes", "wrong to right"}));
  EXPECT_EQ(flip_rows(found, 0)[1][0], "and 1 more");
}

TEST(Flips, NeedLabelsAndAnswers) {
  SmallBenchmarks files;
  EXPECT_USER_ERROR(compared(files.mmbench(false), {"A", "B", "A", "B"}, {"A", "B", "A", "A"}),
                    "there are no labels here");
  EXPECT_USER_ERROR(compared(files.pope({{"random", "yn"}}), {"yes", "no"}, {"yes"}),
                    "pruned.jsonl: no answer for question 1");
  const OpenBenchmark benchmark = files.gqa();
  const Answers answers = SmallBenchmarks::in_order(benchmark, {"red", "no"});
  EXPECT_USER_ERROR(compare_answers(benchmark, answers, answers, {0, 0}), "resamples: expected at least 1, found 0");
}

}  // namespace
}  // namespace yopo
