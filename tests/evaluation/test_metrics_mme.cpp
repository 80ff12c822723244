#include "evaluation/benchmarks/mme/score.h"

#include <gtest/gtest.h>

#include "tests/evaluation/benchmark_answers.h"

namespace yopo {
namespace {

using testing::answers_of;
using testing::category;
using testing::detail;
using testing::sample_of;

TEST(MmeAnswer, LooksAtFourCharacters) {
  for (const char* yes : {"Yes", "yes", "YES.", " yes", "eyes", "yes no", "\nyes", "\xC3\xA9yes"})
    EXPECT_EQ(mme_answer(yes), YesNo::Yes) << yes;
  for (const char* no : {"No", "no.", "know", "  no", "Nope", "not", "noye", "\xC3\xA9\xC3\xA9no"})
    EXPECT_EQ(mme_answer(no), YesNo::No) << no;
  for (const char* other : {"", "  yes", "   no", "maybe", "It is no", "ye s", "n o", "\xC3\xA9\xC3\xA9yes"})
    EXPECT_EQ(mme_answer(other), YesNo::Neither) << other;
}

TEST(MmeAnswer, StripsAndDropsDotsUnderLmms) {
  for (const char* yes : {"Yes", "   yes", "y", " Y. ", "y.e.s", ".eyes", "\xC2\xA0yes"})
    EXPECT_EQ(mme_answer(yes, "lmms"), YesNo::Yes) << yes;
  for (const char* no : {"   no", "n", "N.", "n.o", "know"}) EXPECT_EQ(mme_answer(no, "lmms"), YesNo::No) << no;
  for (const char* other : {"", ".", "x", "yy", "ye s", "It is no", "maybe"})
    EXPECT_EQ(mme_answer(other, "lmms"), YesNo::Neither) << other;
}

TEST(ScoreMme, SumsPointsOfPairs) {
  Mme data;
  const auto add = [&](const std::string& name, bool yes, int64_t pair) {
    data.samples.push_back(sample_of(data.samples.size(), {yes ? "Yes" : "No"}, name));
    data.questions.push_back({name, yes, pair});
  };
  add("OCR", true, 0);
  add("count", true, 1);  // pairs of another category in between
  add("OCR", false, 0);
  add("count", false, 1);
  add("OCR", true, 2);
  add("OCR", false, 2);
  add("code_reasoning", true, 3);
  add("code_reasoning", false, 3);
  const Score score = score_mme(data, answers_of({"yes", "yes", "No", "maybe", "yes", "yes", "Yes, it is", "no"}));
  EXPECT_DOUBLE_EQ(category(score, "OCR"), 75 + 50);
  EXPECT_DOUBLE_EQ(category(score, "count"), 50);
  EXPECT_DOUBLE_EQ(category(score, "code_reasoning"), 200);
  EXPECT_DOUBLE_EQ(category(score, "perception"), 175);
  EXPECT_DOUBLE_EQ(category(score, "cognition"), 200);
  EXPECT_DOUBLE_EQ(score.score, 175);
  EXPECT_EQ(score.count, 8);
  EXPECT_EQ(detail(score, "OCR/both right"), 1);
  EXPECT_EQ(detail(score, "count/neither"), 1);
  EXPECT_EQ(score.units, (std::vector<int64_t>{0, 1, 0, 1, 2, 2, 3, 3}));
}

TEST(MmeCategories, AreTenAndFour) {
  ASSERT_EQ(mme_categories().size(), 14u);
  EXPECT_EQ(mme_categories()[kMmePerception - 1], "OCR");
  EXPECT_EQ(mme_categories()[kMmePerception], "commonsense_reasoning");
}

}  // namespace
}  // namespace yopo
