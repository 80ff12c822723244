#include "evaluation/benchmarks/scienceqa/score.h"

#include <gtest/gtest.h>

#include "tests/evaluation/benchmark_answers.h"

namespace yopo {
namespace {

using testing::answers_of;
using testing::category;
using testing::detail;
using testing::sample_of;

TEST(ScienceQaLetter, FollowsEachRule) {
  for (const auto& [answer, letter] : std::vector<std::pair<std::string, char>>{
           {"A", 'A'},
           {"E", 'E'},
           {"F", 0},
           {" A", 0},  // nothing is stripped
           {"A ", 0},
           {"a", 0},
           {"", 0},
           {"A.", 0},
           {"A. ", 'A'},
           {"B. because", 'B'},
           {"B.because", 0},
           {"F. because", 0},
           {" B. because", 0},
           {"The answer is C.", 'C'},
           {"The answer is C", 0},       // one more character is required
           {"The answer is Blue", 'B'},  // and any will do
           {"The answer is C\n", 0},     // but a newline
           {"The answer is C\xC3\xA9", 'C'},
           {"The answer is Z.", 'Z'},  // a letter beyond every choice, found all the same
           {"The answer is c.", 0},
           {"the answer is C.", 0},
           {"So The answer is D. Really.", 'D'},
           {"The answer is A. The answer is A.", 0},  // exactly one match
           {"The answer is A. The answer is B", 'A'},
           {"The answer is AThe answer is B.", 'A'},  // the first match takes the T
           {"The answer is The answer is B.", 'T'},   // likewise: "The answer is Th" is a match
           {"The answer is (B).", 0},
           {"A. The answer is B.", 'A'}})
    EXPECT_EQ(scienceqa_letter(answer), letter) << answer;
}

TEST(ScienceQaLetter, IsAloneOrBeforeADotUnderLmms) {
  for (const auto& [answer, letter] : std::vector<std::pair<std::string, char>>{{"B", 'B'},
                                                                                {" b\n", 'B'},
                                                                                {"E.", 'E'},
                                                                                {"B.blue", 'B'},
                                                                                {"b.", 0},
                                                                                {"F", 0},
                                                                                {"f", 0},
                                                                                {"", 0},
                                                                                {"B blue", 0},
                                                                                {"{", 0},
                                                                                {"The answer is B.", 0}})
    EXPECT_EQ(scienceqa_letter_lmms(answer), letter) << answer;
}

TEST(ScoreScienceQa, CountsImagesAndTotal) {
  ScienceQa data;
  const auto add = [&](int64_t choices, int64_t answer, bool image) {
    data.samples.push_back(sample_of(data.samples.size(), {"?"}));
    data.questions.push_back({choices, answer, image});
  };
  add(2, 1, true);   // B: right
  add(2, 0, true);   // C: beyond the choices
  add(4, 2, false);  // right
  add(6, 5, true);   // F is beyond E
  add(3, 0, true);   // missing: wrong in the total, out of IMG
  add(3, 0, true);   // unparsed
  Answers answers = answers_of({"B", "C", "The answer is C.", "The answer is F.", "", "a"});
  answers.text.erase("4");
  data.unasked = 2;
  const Score score = score_scienceqa(data, answers);
  EXPECT_EQ(score.count, 8);
  EXPECT_DOUBLE_EQ(score.score, 1.0 / 4);
  EXPECT_DOUBLE_EQ(category(score, "IMG"), 1.0 / 4);
  EXPECT_DOUBLE_EQ(category(score, "total"), 2.0 / 8);
  EXPECT_EQ(detail(score, "missing"), 3);
  EXPECT_EQ(detail(score, "no letter"), 1);
  EXPECT_EQ(score.values, (std::vector<double>{1, 0, 1, 0, 0, 0}));
}

}  // namespace
}  // namespace yopo
