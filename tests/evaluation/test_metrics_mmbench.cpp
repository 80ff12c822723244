#include "evaluation/benchmarks/mmbench/score.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/evaluation/benchmark_answers.h"

namespace yopo {
namespace {

using testing::answers_of;
using testing::category;
using testing::detail;
using testing::sample_of;

MmbenchQuestion question_of(const std::vector<std::string>& options, size_t asked = 4) {
  MmbenchQuestion question;
  for (size_t i = 0; i < options.size(); ++i) {
    const char letter = char('A' + i);
    if (i < asked) question.letters += letter;
    question.choices.emplace_back(letter, options[i]);
  }
  return question;
}

using Cases = std::vector<std::pair<std::string, char>>;

TEST(MmbenchLetter, StripsUnderLetter) {
  const MmbenchQuestion question = question_of({"a cat", "a dog", "a cow"}, 2);
  for (const auto& [answer, letter] : Cases{{"A", 'A'},
                                            {" B\n", 'B'},
                                            {"\xC2\xA0"
                                             "A",
                                             'A'},
                                            {"C", 0},
                                            {"a", 0},
                                            {"A.", 0},
                                            {"(A)", 0},
                                            {"AB", 0},
                                            {"", 0},
                                            {"a cat", 0}})
    EXPECT_EQ(mmbench_letter(answer, question, "letter"), letter) << answer;
}

/// The right letter is right though its option was not asked: LLaVA's script takes its text for none.
TEST(MmbenchLetter, KnowsTheLabelWhateverTheOptions) {
  MmbenchQuestion question = question_of({"a cat", "a dog", "a cow", "None"}, 3);
  question.answer = 'D';
  for (const auto& [answer, letter] : Cases{{"D", 'D'}, {" D\n", 'D'}, {"A", 'A'}, {"E", 0}, {"D.", 0}})
    EXPECT_EQ(mmbench_letter(answer, question, "letter"), letter) << answer;
  question.answer = 0;  // without labels
  EXPECT_EQ(mmbench_letter("D", question, "letter"), 0);
  EXPECT_EQ(mmbench_letter(std::string(1, '\0'), question, "letter"), 0);
}

TEST(MmbenchLetter, FollowsVlmEvalKit) {
  const MmbenchQuestion question = question_of({"a cat", "Dog", "a cow", "one"});
  for (const auto& [answer, letter] :
       Cases{{"A", 'A'},
             {"(B).", 'B'},
             {"**C**: it is so", 'C'},
             {"B is what I say here and now", 0},  // not among the last four words
             {"B is what I say", 0},
             {"say B is my word", 'B'},
             {"I say it is B here and now", 'B'},
             {"A or B", 0},
             {"The answer is C, not A", 'C'},  // two letters, but the phrase
             {"the ANSWER\n is  **d** and so A B", 'D'},
             {"answer is about A B", 'A'},  // the first letter behind the phrase, whatever it belongs to
             {"Z", 'Z'},
             {"Z or A", 'A'},
             {"I can't process this file. A", 'Z'},
             {"it is dog", 'B'},  // an option's text
             {"dog and a cat", 0},
             {"none of these", 'D'},  // "one" is inside
             {"nothing that is there at all and in any case much longer than the options dog", 0},
             {"", 0},
             {"E", 0},
             {"Failed to obtain answer via API: A", 0}})
    EXPECT_EQ(mmbench_letter(answer, question, "vlmevalkit"), letter) << answer;
  EXPECT_EQ(mmbench_letter("the answer is D or so A A B", question_of({"x", "y"}), "vlmevalkit"), 0);
  // Every option column counts, not only those asked.
  EXPECT_EQ(mmbench_letter("E", question_of({"v", "w", "x", "y", "z"}, 1), "vlmevalkit"), 'E');
}

TEST(MmbenchLetter, FollowsLmms) {
  const MmbenchQuestion question = question_of({"a cat", "Dog", "a cow", "a bee"});
  for (const auto& [answer, letter] :
       Cases{{"A", 'A'},
             {"E", 'E'},  // five letters, whatever the options
             {"B.", 'B'},
             {"(C)", 'C'},
             {"(C).", 'C'},
             {":D,", 'D'},
             {"A is it", 'A'},
             {"A big one there", 'A'},  // among more than three words A may be an article, but it stands at the start
             {"A big one there B.", 'B'},
             {"A or B", 'A'},
             {"A or B.", 'A'},
             {"A. or B.", 'A'},
             {"A. or B)", 'A'},  // the first form that has one letter
             {"A. or B. or C)", 'C'},
             {"[A]", 'A'},
             {"The answer is **B**", 'B'},
             {"it is dog", 'B'},
             {"nothing that is there at all and in any case much longer than the options dog", 'B'},
             {"dog and a cat", 0},
             {"", 0}})
    EXPECT_EQ(mmbench_letter(answer, question, "lmms"), letter) << answer;
  EXPECT_EQ(mmbench_letter("z here", question_of({"v", "w", "x", "y", "z"}), "lmms"), 0);  // texts of A to D only
}

TEST(ScoreMmbench, NeedsEveryRotation) {
  Mmbench data;
  data.annotated = true;
  const auto add = [&](int64_t index, char answer, const std::string& name, bool scored = true) {
    data.samples.push_back(sample_of(data.samples.size(), {std::string(1, answer)}));
    MmbenchQuestion question = question_of({"w", "x", "y", "z"});
    question.index = index;
    question.answer = answer;
    question.category = name;
    question.l2_category = name.empty() ? "" : "L";
    question.scored = scored;
    data.questions.push_back(question);
  };
  add(1'000'001, 'B', "other");  // a rotation may come first, and its category does not count
  add(1, 'A', "one");
  add(2, 'A', "two");
  add(2'000'002, 'C', "other");
  add(3, 'D', "two");
  add(4, 'D', "");  // without a category
  add(1'000'009, 'A', "nine", false);
  const Score score = score_mmbench(data, answers_of({"B", "A", "A", "D", "D", "x"}), "letter");
  EXPECT_DOUBLE_EQ(score.score, 2.0 / 4);
  EXPECT_DOUBLE_EQ(category(score, "category/one"), 1);
  EXPECT_DOUBLE_EQ(category(score, "category/two"), 0.5);
  EXPECT_DOUBLE_EQ(category(score, "l2-category/L"), 2.0 / 3);
  EXPECT_EQ(score.categories.size(), 3u);
  EXPECT_EQ(score.count, 4);
  EXPECT_EQ(detail(score, "groups right"), 2);
  EXPECT_EQ(detail(score, "rows"), 6);
  EXPECT_EQ(detail(score, "no letter"), 1);
  EXPECT_EQ(score.units[0], score.units[1]);
  EXPECT_TRUE(std::isnan(score.values[6]));
  data.annotated = false;
  EXPECT_FALSE(score_mmbench(data, answers_of({}), "letter").scored);
}

}  // namespace
}  // namespace yopo
