#include "evaluation/benchmarks/vqa_text.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path kCases = fs::path(YOPO_TEST_DATA) / "text/vqa_cases.json";

TEST(EvalAiNormalizer, EqualsTheReference) {
  const Json cases = read_json(kCases)["normalize"];
  EXPECT_GT(cases.size(), 400u);
  for (const Json& one : cases)
    EXPECT_EQ(evalai_normalize(one["answer"].get<std::string>()), one["expected"].get<std::string>()) << one.dump();
}

TEST(EvalAiNormalizer, FollowsEachRule) {
  for (const auto& [answer, expected] : std::vector<std::pair<std::string, std::string>>{
           {"The Red dog", "red dog"},
           {"yes, it is?", "yes it is"},
           {"dog's", "dog 's"},
           {"',s", "'s"},  // the comma goes first, and then there is an 's at the start
           {"1,000", "1000"},
           {"red-white", "red white"},
           {"red - white", "red white"},
           {"a -b c-d", "b cd"},  // one dash at a space takes all dashes
           {"3.5", "3.5"},
           {"U.S.A.", "usa"},
           {"5.", "5"},
           {".5", ".5"},
           {"no.\xD9\xA5", "no.\xD9\xA5"},  // an Arabic five is a digit
           {std::string(32, '.') + "x", "x"},
           {std::string(33, '.') + "x", ".x"},  // a flag is passed as the count
           {"none", "0"},
           {"Ten", "10"},
           {"eleven", "eleven"},
           {"an", ""},
           {"a the", ""},
           {"dont", "don't"},
           {"Im", "im"},  // keys with capitals never fire
           {"somebody'd", "somebodyd"},
           {"it\xC2\xA0is\tso\n", "it is so"},
           {"", ""}})
    EXPECT_EQ(evalai_normalize(answer), expected) << answer;
}

TEST(VqaScore, EqualsTheReference) {
  const Json cases = read_json(kCases)["scores"];
  EXPECT_GE(cases.size(), 60u);
  for (const Json& one : cases)
    EXPECT_DOUBLE_EQ(vqa_score(one["answer"].get<std::string>(), one["expected"].get<std::vector<std::string>>()),
                     one["score"].get<double>())
        << one.dump();
}

TEST(VqaScore, CountsTheOtherNineAnnotators) {
  const auto of = [](int matches) {
    std::vector<std::string> answers(10, "blue");
    for (int i = 0; i < matches; ++i) answers[size_t(i)] = "The red.";
    return vqa_score("red", answers);
  };
  EXPECT_DOUBLE_EQ(of(0), 0);
  EXPECT_DOUBLE_EQ(of(1), 0.3);  // nine annotators see one match, the one who gave it sees none
  EXPECT_DOUBLE_EQ(of(2), 0.6);
  EXPECT_DOUBLE_EQ(of(3), 0.9);
  EXPECT_DOUBLE_EQ(of(4), 1);
  EXPECT_DOUBLE_EQ(of(10), 1);
  EXPECT_DOUBLE_EQ(vqa_score("Red!", {"red"}), 1);
  EXPECT_DOUBLE_EQ(vqa_score("red", {"blue"}), 0);
  for (size_t count : {0, 2, 9, 11})
    EXPECT_USER_ERROR(vqa_score("red", std::vector<std::string>(count, "red")), std::to_string(count));
}

}  // namespace
}  // namespace yopo
