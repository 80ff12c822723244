#include "evaluation/benchmarks/vqav2/score.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "evaluation/benchmarks/vqa_text.h"
#include "tests/evaluation/benchmark_answers.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::answers_of;
using testing::category;
using testing::detail;
using testing::sample_of;

/// `count` times `answer`, the rest `other`.
std::vector<std::string> ten(const std::string& answer, int count = 10, const std::string& other = "something else") {
  std::vector<std::string> all(10, other);
  for (int i = 0; i < count; ++i) all[size_t(i)] = answer;
  return all;
}

TEST(OfficialNormalizer, FollowsEachRule) {
  for (const auto& [answer, expected] : std::vector<std::pair<std::string, std::string>>{
           {"The Red dog", "red dog"},
           {"dog's", "dog's"},            // EvalAI makes it "dog 's"
           {"yes, it is?", "yes it is"},  // a comma and a question mark are punctuation: one at a space, one not
           {"a,b", "b"},                  // a space comes, then the article goes
           {"red?", "red"},
           {"x?y", "x y"},
           {"red-white", "red white"},
           {"red -white a-b", "red white ab"},                // one dash at a space takes all dashes
           {"1,000 red-white?", "1000 redwhite"},             // a digit-comma-digit deletes all punctuation
           {"1,a red-white", "1 red white"},                  // no digit behind this comma
           {"x;- y", "x y"},                                  // tested on the input: ";" touches no space there
           {"\xD9\xA1,\xD9\xA2 a-b", "\xD9\xA1\xD9\xA2 ab"},  // Arabic digits are digits
           {"U.S.A.", "usa"},
           {"3.5", "3.5"},
           {std::string(33, '.') + "x", ".x"},
           {"None", "0"},  // lower-cased with the digit step
           {"TEN", "10"},
           {"An", ""},
           {"Dont", "don't"},
           {"Im", "im"},  // keys with capitals never fire
           {"I'dve", "i'dve"}})
    EXPECT_EQ(vqa_official_normalize(answer), expected) << answer;
}

TEST(OfficialScore, NormalizesOnlyWhereAnnotatorsDisagree) {
  EXPECT_DOUBLE_EQ(vqa_official_score("Red.", ten("red")), 0);         // all ten agree: as written
  EXPECT_DOUBLE_EQ(vqa_official_score("The Red.", ten("red", 9)), 1);  // they disagree: both sides normalised
  EXPECT_DOUBLE_EQ(vqa_official_score("red", ten("Red")), 0);
  EXPECT_DOUBLE_EQ(vqa_official_score(" red\n", ten("\tred ")), 1);  // newline, tab and ends
  EXPECT_DOUBLE_EQ(vqa_official_score("a\tb", ten("a\nb")), 1);
  EXPECT_DOUBLE_EQ(vqa_official_score("red", ten("red ", 5, " red")), 1);  // they agree once stripped
  EXPECT_DOUBLE_EQ(vqa_official_score("Red", ten("red ", 5, " red")), 0);
  EXPECT_DOUBLE_EQ(vqa_official_score("dog's", ten("dog's", 9)), 1);
  EXPECT_DOUBLE_EQ(vqa_official_score("dog 's", ten("dog's", 9)), 0);
}

TEST(OfficialScore, CountsTheOtherNine) {
  for (const auto& [count, expected] :
       std::vector<std::pair<int, double>>{{0, 0}, {1, 0.3}, {2, 0.6}, {3, 0.9}, {4, 1}, {10, 1}})
    EXPECT_NEAR(vqa_official_score("red", ten("red", count)), expected, 1e-15) << count;
  EXPECT_USER_ERROR(vqa_official_score("red", {"red"}), "10 annotators, found 1");
}

TEST(LmmsScore, NormalizesAlwaysAndCountsRunsOfCommas) {
  EXPECT_DOUBLE_EQ(vqa_lmms_score("The dog.", ten("dog")), 1);  // the official scorer would only strip
  EXPECT_DOUBLE_EQ(vqa_lmms_score("dog's", ten("dog's")), 1);   // EvalAI would split the 's off
  EXPECT_DOUBLE_EQ(vqa_lmms_score("1,,0;5", ten("105")), 1);    // a run of commas deletes all marks
  EXPECT_DOUBLE_EQ(vqa_official_score("1,,0;5", ten("105")), 0);
  EXPECT_DOUBLE_EQ(vqa_lmms_score("1,,x;5", ten("1x5")), 0);
  EXPECT_USER_ERROR(vqa_lmms_score("red", {"red"}), "10 annotators, found 1");
}

TEST(ScoreVqaV2, IsEvalAiThenTheOfficialScorer) {
  VqaV2 data;
  data.annotated = true;
  const auto add = [&](const std::vector<std::string>& expected, const std::string& type) {
    data.samples.push_back(sample_of(data.samples.size(), expected));
    data.questions.push_back({type});
  };
  add(ten("dog's", 9), "other");  // lost: EvalAI splits the 's off
  add(ten("red"), "other");       // EvalAI has lower-cased and taken the dot
  add(ten("2", 2), "number");
  add(ten("yes"), "yes/no");
  const Answers answers = answers_of({"dog's", "Red.", "two", "no"});
  const Score score = score_vqav2(data, answers);
  EXPECT_EQ(score.values, (std::vector<double>{0, 1, vqa_official_score("2", ten("2", 2)), 0}));
  EXPECT_NEAR(score.score, 1.6 / 4, 1e-15);
  EXPECT_DOUBLE_EQ(category(score, "other"), 0.5);
  EXPECT_NEAR(category(score, "number"), 0.6, 1e-15);
  EXPECT_DOUBLE_EQ(category(score, "yes/no"), 0);
  EXPECT_EQ(score.categories.size(), 3u);
  EXPECT_EQ(score.count, 4);

  // What the full list has and nobody asked is answered with "".
  data.unasked = {{"yes/no", ten("yes")}, {"other", ten("")}};
  const Score full = score_vqav2(data, answers);
  EXPECT_EQ(full.count, 6);
  EXPECT_NEAR(full.score, 2.6 / 6, 1e-15);
  EXPECT_NEAR(category(full, "other"), 2.0 / 3, 1e-15);
  EXPECT_EQ(detail(full, "not asked"), 2);
}

TEST(ScoreVqaV2, ScoresNothingWithoutAnnotations) {
  VqaV2 data;
  data.samples = {sample_of(0, {})};
  data.questions.resize(1);
  const Score score = score_vqav2(data, answers_of({"x"}));
  EXPECT_FALSE(score.scored);
  EXPECT_EQ(score.count, 1);
  EXPECT_USER_ERROR(score_vqav2(data, answers_of({})), "answers.jsonl: no answer for question 0 (q.jsonl:1)");
}

}  // namespace
}  // namespace yopo
