#include "evaluation/benchmarks/pope/score.h"

#include <gtest/gtest.h>

#include "tests/evaluation/benchmark_answers.h"

namespace yopo {
namespace {

using testing::answers_of;
using testing::category;
using testing::detail;
using testing::sample_of;

TEST(PopeAnswer, FollowsLlava) {
  for (const char* no :
       {"No", "no", "not", "No, there is not.", "There is no dog", "it is not", "No.", "n,o", "x no. y", ",no", "  no"})
    EXPECT_EQ(pope_answer(no, "llava"), YesNo::No) << no;
  for (const char* yes : {"Yes", "", "NO", "Not", "None", "nothing", "no\tdog", "no\n", "no\u00a0dog", "Yes. No",
                          ". no", "no!", "maybe", "(no)"})
    EXPECT_EQ(pope_answer(yes, "llava"), YesNo::Yes) << yes;
}

TEST(PopeAnswer, FollowsLmms) {
  for (const char* no : {"no", "No", " NO\n"}) EXPECT_EQ(pope_answer(no, "lmms"), YesNo::No) << no;
  for (const char* yes : {"yes", "YES "}) EXPECT_EQ(pope_answer(yes, "lmms"), YesNo::Yes) << yes;
  for (const char* other : {"No.", "no dog", "", "yes, it is", "not"})
    EXPECT_EQ(pope_answer(other, "lmms"), YesNo::Neither) << other;
}

Pope data_of(const std::vector<std::pair<const char*, bool>>& rows) {
  Pope data;
  for (const auto& [split, yes] : rows) {
    data.samples.push_back(sample_of(data.samples.size(), {yes ? "yes" : "no"}, split));
    data.questions.push_back({yes});
  }
  return data;
}

TEST(ScorePope, GivesEverySplit) {
  const Pope data = data_of({{"random", true},
                             {"popular", true},
                             {"random", false},
                             {"random", true},
                             {"random", true},
                             {"popular", false},
                             {"random", false}});
  const Score score = score_pope(data, answers_of({"yes", "yes", "Yes", "No", "yes", "no", "no"}), "llava");
  EXPECT_DOUBLE_EQ(category(score, "random/accuracy"), 3.0 / 5);
  EXPECT_DOUBLE_EQ(category(score, "random/precision"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(category(score, "random/recall"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(category(score, "random/f1"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(category(score, "random/yes_ratio"), 3.0 / 5);
  EXPECT_DOUBLE_EQ(category(score, "popular/f1"), 1);
  EXPECT_DOUBLE_EQ(score.score, (2.0 / 3 + 1) / 2);
  EXPECT_EQ(score.count, 7);
  EXPECT_EQ(score.categories.size(), 10u);
  EXPECT_EQ(detail(score, "random/true_yes"), 2);
  EXPECT_EQ(detail(score, "random/false_yes"), 1);
  EXPECT_EQ(detail(score, "random/true_no"), 1);
  EXPECT_EQ(detail(score, "random/false_no"), 1);
}

TEST(ScorePope, HasNothingToDivideBy) {
  const Score score = score_pope(data_of({{"random", false}, {"random", true}}), answers_of({"no", "no"}), "llava");
  EXPECT_EQ(category(score, "random/precision"), 0);
  EXPECT_EQ(category(score, "random/recall"), 0);
  EXPECT_EQ(score.score, 0);
}

TEST(ScorePope, TakesNeitherUnderLmms) {
  const Pope data = data_of({{"random", true}, {"random", true}, {"random", true}, {"random", false}});
  const Score score = score_pope(data, answers_of({"yes", "Yes.", "no", "no it is"}), "lmms");
  EXPECT_DOUBLE_EQ(category(score, "random/accuracy"), 1.0 / 4);
  EXPECT_DOUBLE_EQ(category(score, "random/precision"), 1);
  EXPECT_DOUBLE_EQ(category(score, "random/recall"), 1.0 / 2);     // "Yes." is no miss
  EXPECT_DOUBLE_EQ(category(score, "random/yes_ratio"), 3.0 / 4);  // the labels'
  EXPECT_EQ(detail(score, "neither"), 2);
}

}  // namespace
}  // namespace yopo
