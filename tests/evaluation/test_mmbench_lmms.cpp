// Rule lmms held to lmms-eval's published code: EvolvingLMMs-Lab/lmms-eval at 75571cf, task mmbench_en_dev_static. What
// is right was worked out by running that code (MMBench_Evaluator.eval_sub_data of tasks/mmbench/mmbench_evals.py with
// static_only, which calls tasks/_task_utils/mcq_extract.py), not by reading it.
#include <gtest/gtest.h>

#include "evaluation/benchmarks/mmbench/score.h"

namespace yopo {
namespace {

using Options = std::vector<std::string>;

struct Case {
  std::string answer;
  Options options;
  char label;
  bool right;
};

const Options fruit{"red", "green apple", "blue"}, none{"a cat", "a dog", "a cow", "None"}, letters{"a", "b", "c", "d"};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"A", fruit, 'A', true},
      {"B", fruit, 'A', false},
      {" B\n", fruit, 'B', true},
      {"b", fruit, 'B', false},
      {"E", fruit, 'B', false},
      {"D", fruit, 'B', false},
      {"B\xC2\xA0", fruit, 'B', true},
      {"B\xE2\x80\xA8", fruit, 'B', true},
      {"it is B", fruit, 'B', true},
      {"B it must be so", fruit, 'B', true},
      {"B or C", fruit, 'C', false},
      {"B and C", fruit, 'B', true},
      {"Option A is a good one", fruit, 'A', true},
      {"A is it", fruit, 'A', true},
      {"A red apple", fruit, 'A', true},
      {"A big one there", fruit, 'A', true},
      {"A big one there B.", fruit, 'B', true},
      {"A big one there B.", fruit, 'A', false},
      {"A or B", fruit, 'A', true},
      {"A or B", fruit, 'B', false},
      {"A or is it C then", fruit, 'A', true},
      {"A or is it C then", fruit, 'C', false},
      {"It is not A at all here", fruit, 'A', true},
      {"A dog, B", fruit, 'B', false},
      {"A dog, B", fruit, 'A', true},
      {"There is a dog, not A but B here", fruit, 'B', true},
      {"There is a dog, not A but B here", fruit, 'A', false},
      {"This is A", fruit, 'A', true},
      {"I see A thing", fruit, 'A', true},
      {"**A**", fruit, 'A', true},
      {"**C**", fruit, 'C', true},
      {"*B*", fruit, 'B', true},
      {"_B_", fruit, 'B', true},
      {"`C`", fruit, 'C', true},
      {"[B]", fruit, 'B', true},
      {"{B}", fruit, 'B', true},
      {"<B>", fruit, 'B', true},
      {"\"B\"", fruit, 'B', true},
      {"'B'", fruit, 'B', true},
      {"B.", fruit, 'B', true},
      {"B,", fruit, 'B', true},
      {"B:", fruit, 'B', true},
      {"B)", fruit, 'B', true},
      {"B).", fruit, 'B', true},
      {"(B)", fruit, 'B', true},
      {"(B).", fruit, 'B', true},
      {":B", fruit, 'B', true},
      {":B).", fruit, 'B', true},
      {"B!", fruit, 'B', true},
      {"B?", fruit, 'B', true},
      {"B;", fruit, 'B', true},
      {"B -", fruit, 'B', true},
      {"-B", fruit, 'B', true},
      {"#B", fruit, 'B', true},
      {"B/C", fruit, 'B', true},
      {"B/C", fruit, 'C', false},
      {"The answer is **B**", fruit, 'B', true},
      {"**Answer: B**", fruit, 'B', true},
      {"Answer:B", fruit, 'B', true},
      {"B.red", fruit, 'B', false},
      {"B. red", fruit, 'B', true},
      {"(B) red", fruit, 'B', true},
      {"A. or B)", fruit, 'A', true},
      {"A. or B)", fruit, 'B', false},
      {"A. or B. or C)", fruit, 'C', true},
      {"(A) (B)", fruit, 'B', true},
      {"(A) (B)", fruit, 'A', false},
      {"A: B:", fruit, 'B', false},
      {"A) B) C)", fruit, 'C', false},
      {"The answer is B.", fruit, 'B', true},
      {"the answer is B because of A and C", fruit, 'B', false},
      {"answer is **C**, not A or B", fruit, 'C', false},
      {"answer is **C**, not A or B", fruit, 'B', true},
      {"I choose C over (B)", fruit, 'C', true},
      {"I choose C over (B)", fruit, 'B', false},
      {"My choice is: Blue", fruit, 'B', false},
      {"best option is the Cat", fruit, 'C', true},
      {"\xEC\xA0\x95\xEB\x8B\xB5\xEC\x9D\x80 B\xEC\x9E\x85\xEB\x8B\x88\xEB\x8B\xA4", fruit, 'B', true},
      {"\xE7\xAD\x94\xE6\xA1\x88\xE6\x98\xAF"
       "C\xE3\x80\x82",
       fruit, 'C', true},
      {"\xE9\x80\x89"
       "A",
       fruit, 'A', true},
      {"\xE7\xAD\x94\xE3\x81\x88\xE3\x81\xAF"
       "B\xE3\x81\xA7\xE3\x81\x99",
       fruit, 'B', true},
      {"\xC4\xB0\xC4\xB0\xC4\xB0 answer is B", fruit, 'B', true},
      {"\xC4\xB0\xC4\xB0\xC4\xB0\xC4\xB0\xC4\xB0 answer is Bx Cy.", fruit, 'B', false},
      {"green apple", fruit, 'B', true},
      {"It is a Green Apple.", fruit, 'B', true},
      {"red or green apple", fruit, 'B', false},
      {"Blue and green apple, B", fruit, 'B', true},
      {"none", none, 'D', true},
      {"None", none, 'D', true},
      {"None of them", none, 'D', true},
      {"D", none, 'D', true},
      {"a cow, not a dog", none, 'C', false},
      {"none", none, 'A', false},
      {"bed", letters, 'B', false},
      {"back", letters, 'B', false},
      {"if", letters, 'A', false},
      {"BB", fruit, 'B', true},
      {"USA", fruit, 'A', true},
      {"Because", fruit, 'B', true},
      {"Apples", fruit, 'A', true},
      {"BAC", fruit, 'C', true},
      {"Maybe Blue", {"x", "y", "z"}, 'B', true},
      {"\xC3\x89"
       "B",
       fruit, 'B', true},
      {"B\xC3\xA9", fruit, 'B', true},
      {"B1", fruit, 'B', true},
      {"1B", fruit, 'B', true},
      {"\xEF\xBC\xA2", fruit, 'B', false},
      {"\xCE\x91", fruit, 'A', false},
      {"A-hem, it may be C", fruit, 'C', true},
      {"A-hem, it may be C", fruit, 'A', false},
      {"B: it was clear that C", fruit, 'B', false},
      {"it was clear that C not (B), said C", fruit, 'C', true},
      {"", fruit, 'A', false},
      {" ", fruit, 'A', false},
      {".", fruit, 'A', false},
      {"no idea", fruit, 'B', false},
      {"Failed to obtain answer via API B", fruit, 'B', true},
      {"Failed to obtain answer via API", fruit, 'A', true},
      {"Failed to obtain answer via API: red", fruit, 'A', true},
      {"**D**", fruit, 'A', false},
      {"**D** A", fruit, 'A', true},
      {"(D) or A", fruit, 'A', true},
      {"**D**", none, 'D', true},
      {"Option D is a good one", none, 'D', true},
      {"E or B", fruit, 'B', true},
      {"**E**", fruit, 'A', false},
  };
  return all;
}

TEST(MmbenchLmms, AgreesWithThePublishedCode) {
  for (const auto& [answer, options, label, right] : cases()) {
    MmbenchQuestion question;
    question.answer = label;
    for (size_t i = 0; i < options.size(); ++i) {
      question.letters += char('A' + i);
      question.choices.emplace_back(char('A' + i), options[i]);
    }
    EXPECT_EQ(mmbench_letter(answer, question, "lmms") == label, right) << answer << ", label " << label;
  }
}

/// Without any option the published code looks for A to H.
TEST(MmbenchLmms, KnowsALetterWithoutOptions) {
  EXPECT_EQ(mmbench_letter("it must be **G**", MmbenchQuestion(), "lmms"), 'G');
  EXPECT_EQ(mmbench_letter("it must be **I**", MmbenchQuestion(), "lmms"), 0);
}

}  // namespace
}  // namespace yopo
