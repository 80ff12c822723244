#include "evaluation/benchmarks/gqa/score.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/evaluation/benchmark_answers.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::answers_of;
using testing::category;
using testing::sample_of;

double scored(const std::string& answer, const std::string& expected, const std::string& protocol) {
  Gqa data;
  data.samples = {sample_of(0, {expected})};
  data.questions = {{true, true}};
  return score_gqa(data, answers_of({answer}), protocol).score;
}

TEST(ScoreGqa, TakesTrailingDotsAndNothingElse) {
  for (const char* right : {"dog", "Dog", "dog.", "DOG...", "dog.."})
    EXPECT_EQ(scored(right, "dog", "llava"), 1) << right;
  for (const char* wrong : {".dog", "dog ", " dog", "dog. ", "dog,", "d.og", "a dog", "dog.\n", ""})
    EXPECT_EQ(scored(wrong, "dog", "llava"), 0) << wrong;
  EXPECT_EQ(scored("dog", "Dog", "llava"), 0);  // the annotation stays as it is
  EXPECT_EQ(scored("\xC3\x89T\xC3\x89.", "\xC3\xA9t\xC3\xA9", "llava"), 1);
}

TEST(ScoreGqa, IgnoresCaseAndPunctuationUnderLmms) {
  for (const char* right : {"dog", ".dog", "DOG!", "d-o-g", "\"dog\""})
    EXPECT_EQ(scored(right, "Do'g", "lmms"), 1) << right;
  for (const char* wrong : {"dog ", " dog", "a dog", "dog\xE2\x80\x99"})
    EXPECT_EQ(scored(wrong, "dog", "lmms"), 0) << wrong;
}

TEST(ScoreGqa, CountsBalancedQuestionsByType) {
  Gqa data;
  for (size_t i = 0; i < 5; ++i) data.samples.push_back(sample_of(i, {"yes"}));
  data.questions = {{true, true}, {true, false}, {true, false}, {true, false}, {false, true}};
  const Score score = score_gqa(data, answers_of({"no", "yes", "yes.", "no", "yes"}), "llava");
  EXPECT_EQ(score.count, 4);
  EXPECT_DOUBLE_EQ(score.score, 0.5);
  EXPECT_DOUBLE_EQ(category(score, "open"), 0);
  EXPECT_DOUBLE_EQ(category(score, "binary"), 2.0 / 3);
  EXPECT_TRUE(std::isnan(score.values[4]));
  EXPECT_NO_THROW(score_gqa(data, answers_of({"a", "a", "a", "a"}), "llava"));  // the unbalanced one needs none
  EXPECT_USER_ERROR(score_gqa(data, answers_of({"a", "a", "a"}), "llava"), "no answer for question 3");
  data.questions.assign(5, {false, false});
  EXPECT_USER_ERROR(score_gqa(data, answers_of({}), "llava"), "none of the questions is balanced");
}

}  // namespace
}  // namespace yopo
