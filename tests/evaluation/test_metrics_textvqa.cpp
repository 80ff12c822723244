#include "evaluation/benchmarks/textvqa/score.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/evaluation/benchmark_answers.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::answers_of;
using testing::sample_of;

TEST(ScoreTextVqa, NormalizesBothSidesAlways) {
  TextVqa data;
  data.with_ocr = 2;
  data.samples.push_back(sample_of(0, std::vector<std::string>(10, "Coca-Cola's")));  // all agree, still normalised
  std::vector<std::string> three(10, "x");
  three[0] = "1,000";
  three[4] = "The 1000.";
  data.samples.push_back(sample_of(1, three));
  data.samples.push_back(sample_of(2, std::vector<std::string>(10, "a")));  // articles alone are the empty text
  const Score score = score_textvqa(data, answers_of({"coca cola 's", "1000", ""}));
  EXPECT_EQ(score.count, 3);
  EXPECT_DOUBLE_EQ(score.values[0], 1);
  EXPECT_NEAR(score.values[1], 0.6, 1e-15);
  EXPECT_DOUBLE_EQ(score.values[2], 1);
  EXPECT_NEAR(score.score, 2.6 / 3, 1e-15);
  EXPECT_TRUE(score.categories.empty());
  EXPECT_EQ(testing::detail(score, "with OCR tokens"), 2);
  EXPECT_USER_ERROR(score_textvqa(data, answers_of({"a"})), "no answer for question 1");
}

}  // namespace
}  // namespace yopo
