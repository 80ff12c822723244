#include "evaluation/benchmarks/open.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "evaluation/shard.h"
#include "tests/support/captured_notes.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

/// POPE with one split, MME with one category, TextVQA with a question that stands twice.
class Benchmarks : public ::testing::Test {
 protected:
  EvaluateOptions pope(int count = 3) {
    std::string questions, labels;
    for (int i = 0; i < count; ++i) {
      questions += fmt::format(R"({{"question_id": {}, "image": "a.jpg", "text": "Is {}?", "category": "random"}})"
                               "\n",
                               i, i);
      labels += R"({"label": "yes"})"
                "\n";
    }
    write_file(folder_ / "pope.jsonl", questions);
    write_file(folder_ / "coco/coco_pope_random.json", labels);
    return options("pope", "pope.jsonl", "coco");
  }
  EvaluateOptions mme() {
    for (const char* name : {"1", "2"})
      write_file(folder_ / fmt::format("MME/count/{}.txt", name),
                 "Is A?  Please answer yes or no.\tYes\nIs B? Please answer yes or no.\tNo\n");
    EvaluateOptions made = options("mme", "", "");
    made.dataset.annotations = folder_ / "MME";
    return made;
  }
  EvaluateOptions textvqa() {
    const std::string line = R"({"question_id": "i", "image": "i.jpg", "text": "What?\nS1"})"
                             "\n";
    write_file(folder_ / "t.jsonl", line + line +
                                        R"({"question_id": "j", "image": "j.jpg", "text": "What?\nS1"})"
                                        "\n");
    std::string answers = R"("x", "x", "x", "x", "x", "x", "x", "x", "x", "x")";
    write_file(folder_ / "t.json", fmt::format(R"({{"data": [{{"image_id": "i", "question": "What?", "answers": [{0}]}},
      {{"image_id": "j", "question": "what?", "answers": [{0}]}}]}})",
                                               answers));
    return options("textvqa", "t.jsonl", "t.json");
  }
  EvaluateOptions options(const std::string& name, const std::string& questions, const std::string& annotations) {
    EvaluateOptions made;
    made.benchmark = name;
    if (!questions.empty()) made.dataset.questions = folder_ / questions;
    if (!annotations.empty()) made.dataset.annotations = folder_ / annotations;
    return made;
  }
  Answers answers(const EvaluateOptions& options, const std::string& lines) {
    write_file(folder_ / "answers.jsonl", lines);
    return read_answers(folder_ / "answers.jsonl", open_benchmark(options, false));
  }
  TemporaryFolder folder_;
};

TEST_F(Benchmarks, KnowTheirProtocolsRulesAndLimits) {
  EvaluateOptions made = pope();
  EXPECT_EQ(open_benchmark(made, false).protocol, "llava");
  EXPECT_EQ(open_benchmark(made, false).max_new_tokens, 128);
  made.protocol = "lmms";
  made.max_new_tokens = 7;
  EXPECT_EQ(open_benchmark(made, false).protocol, "lmms");
  EXPECT_EQ(open_benchmark(made, false).max_new_tokens, 7);
  made.protocol = "lmm";
  EXPECT_USER_ERROR(open_benchmark(made, false),
                    "benchmark pope: protocol: expected one of llava, lmms, found 'lmm'; did you mean");
  made.protocol = "";
  made.rule = "letter";
  EXPECT_USER_ERROR(open_benchmark(made, false), "rule: benchmark pope has none to choose");
  made.rule = "";
  EXPECT_USER_ERROR(open_benchmark(made, true),
                    "pope.jsonl:1: the question has an image, but no images folder is given");
  made.benchmark = "poppe";
  EXPECT_USER_ERROR(open_benchmark(made, false), "found 'poppe'; did you mean 'pope'?");
  EvaluateOptions points = mme();
  points.protocol = "plain";
  EXPECT_USER_ERROR(open_benchmark(points, false),
                    "benchmark mme: protocol: expected one of llava, lmms, found 'plain'");

  write_file(folder_ / "g.jsonl", R"({"question_id": "1", "image": "a.jpg", "text": "t"})");
  write_file(folder_ / "g.json", R"({"1": {"answer": "no", "isBalanced": true, "types": {"structural": "verify"}}})");
  EvaluateOptions gqa = options("gqa", "g.jsonl", "g.json");
  EXPECT_EQ(open_benchmark(gqa, false).max_new_tokens, 128);
  gqa.protocol = "lmms";
  EXPECT_EQ(open_benchmark(gqa, false).max_new_tokens, 16);

  write_file(folder_ / "m.tsv", "index\tquestion\tA\tanswer\timage\n1\tq\ta\tA\t/9j/AAAA\n");
  EvaluateOptions choice = options("mmbench", "m.tsv", "");
  EXPECT_EQ(open_benchmark(choice, false).rule, "letter");
  EXPECT_EQ(open_benchmark(choice, false).max_new_tokens, 1024);
  choice.protocol = "lmms";
  EXPECT_EQ(open_benchmark(choice, false).rule, "lmms");
  choice.rule = "vlmevalkit";
  EXPECT_EQ(open_benchmark(choice, false).rule, "vlmevalkit");
}

TEST_F(Benchmarks, AreWordedByTheirProtocol) {
  const std::string letter(kOptionLetter), brief(kShortAnswer);
  EvaluateOptions points = mme();
  EXPECT_EQ(open_benchmark(points, false).samples->at(0).text, "Is A?" + brief);
  points.protocol = "lmms";
  const OpenBenchmark spaced = open_benchmark(points, false);
  EXPECT_EQ(spaced.max_new_tokens, 16);
  EXPECT_EQ(spaced.samples->at(0).text, "Is A? " + brief);  // of two spaces one goes with the request
  EXPECT_EQ(spaced.samples->at(1).text, "Is B?" + brief);
  // LLaVA's own file gives the order, the protocol the wording.
  write_file(folder_ / "mme.jsonl",
             "{\"question_id\": \"count/2.png\", \"image\": \"2.png\", \"text\": \"Is A?\"}\n"
             "{\"question_id\": \"count/2.png\", \"image\": \"2.png\", \"text\": \"Is B?\"}\n"
             "{\"question_id\": \"count/1.png\", \"image\": \"1.png\", \"text\": \"Is B?\"}\n"
             "{\"question_id\": \"count/1.png\", \"image\": \"1.png\", \"text\": \"Is A?\"}\n");
  points.dataset.questions = folder_ / "mme.jsonl";
  const OpenBenchmark listed = open_benchmark(points, false);
  EXPECT_EQ(listed.samples->at(3).text, "Is A? " + brief);
  // The stored prompt leads back to the question.
  const Json record{{"question_id", "count/1.png"}, {"prompt", listed.samples->at(3).text}};
  EXPECT_EQ(listed.key_of()(record, "answers.jsonl:1"), listed.samples->at(3).key);

  write_file(folder_ / "s.json",
             R"([{"id": "1", "image": "1.png", "conversations": [{"value": "<image>\nQ (A) a (B) b"}]},
    {"id": "2", "conversations": [{"value": "Q"}]}])");
  write_file(folder_ / "sqa/problems.json",
             R"({"1": {"question": "Which?", "hint": "Look.", "choices": ["a", "b"], "answer": 1},
    "2": {"question": "What?", "hint": "", "choices": ["c"], "answer": 0}})");
  write_file(folder_ / "sqa/pid_splits.json", R"({"test": ["1", "2"]})");
  EvaluateOptions science = options("scienceqa", "s.json", "sqa");
  EXPECT_EQ(open_benchmark(science, false).samples->at(0).text, "Q (A) a (B) b" + letter);
  science.protocol = "lmms";
  const OpenBenchmark anew = open_benchmark(science, false);
  EXPECT_EQ(anew.max_new_tokens, 16);
  EXPECT_EQ(anew.samples->at(0).text, "Context: Look.\nWhich?\nA. a\nB. b" + letter);
  EXPECT_EQ(anew.samples->at(0).prompt, "<image>\n" + anew.samples->at(0).text);
  EXPECT_EQ(anew.samples->at(1).text, "What?\nA. c" + letter);
  write_file(folder_ / "sqa/problems.json", R"({"1": {"choices": [1, "b"], "answer": 1, "question": "Q"}})");
  EXPECT_USER_ERROR(open_benchmark(science, false), "problems.json: 1: choices: expected texts, found 1");

  write_file(folder_ / "m.tsv", "index\tquestion\tA\tB\tanswer\timage\n1\tq\ta\tb\tA\t/9j/AAAA\n");
  EvaluateOptions choice = options("mmbench", "m.tsv", "");
  EXPECT_EQ(open_benchmark(choice, false).samples->at(0).text, "q\nA. a\nB. b" + letter);
  choice.protocol = "plain";
  EXPECT_EQ(open_benchmark(choice, false).samples->at(0).text, "q\nA. a\nB. b");
  EXPECT_EQ(open_benchmark(choice, false).rule, "letter");
}

TEST_F(Benchmarks, TakeTheLastOfRepeatedAnswers) {
  const EvaluateOptions made = pope();
  const Answers given = answers(made, R"({"question_id": 0, "text": "yes"}
{"question_id": 1, "text": "yes"}
{"question_id": "2", "text": "yes", "metadata": {}}

{"question_id": "1", "text": "no"}
)");
  EXPECT_EQ(given.text.size(), 3u);
  EXPECT_EQ(given.text.at("1"), "no");
  const Score score = open_benchmark(made, false).score(given);
  EXPECT_DOUBLE_EQ(score.score, 0.8);  // 2 of 3 found, all of them right
}

TEST_F(Benchmarks, RefuseAnswersThatDoNotFit) {
  const EvaluateOptions made = pope();
  EXPECT_USER_ERROR(answers(made, R"({"question_id": 3, "text": "yes"})"),
                    "answers.jsonl:1: question_id 3 is not among the questions, and so it is with all 1 answers");
  EXPECT_USER_ERROR(answers(made, R"({"question_id": 1})"), "answers.jsonl:1: 'text' is missing");
  EXPECT_USER_ERROR(answers(made, R"({"text": "yes"})"), "answers.jsonl:1: expected an object with question_id");
  const Answers some = answers(made, R"({"question_id": 1, "text": "yes"})");
  EXPECT_USER_ERROR(open_benchmark(made, false).score(some), "answers.jsonl: no answer for question 0");
}

/// GQA's original passes over answers to questions that do not count.
TEST_F(Benchmarks, CountAnswersToOtherQuestionsInOneWarning) {
  const EvaluateOptions made = pope();
  const std::string other = R"({"question_id": 9, "text": "no"})"
                            "\n",
                    zero = R"({"question_id": 0, "text": "yes"})"
                           "\n",
                    rest = R"({"question_id": 1, "text": "yes"})"
                           "\n"
                           R"({"question_id": 2, "text": "yes"})";
  {
    const testing::CapturedNotes said;
    const Answers given = answers(made, other + zero + other + rest);
    EXPECT_EQ(given.text.size(), 3u);
    EXPECT_EQ(open_benchmark(made, false).score(given).score, 1);
    EXPECT_EQ(std::count(said.text().begin(), said.text().end(), '\n'), 1) << said.text();
    EXPECT_TRUE(said.has("2 answers are to questions that are not asked, the first ")) << said.text();
    EXPECT_TRUE(said.has("answers.jsonl:1: question_id 9; they are left out")) << said.text();
  }
  // A question without an answer stays an error, and the answers left out may be why.
  const Answers some = answers(made, other + rest);
  EXPECT_USER_ERROR(open_benchmark(made, false).score(some), "no answer for question 0");
  EXPECT_USER_ERROR(open_benchmark(made, false).score(some), "answers.jsonl:1: question_id 9");
  EXPECT_USER_ERROR(answers(made, R"({"question_id": 9})"), "answers.jsonl:1: 'text' is missing");

  const std::string request = "\\nAnswer the question using a single word or phrase.";
  std::string lines;
  for (const char* image : {"1", "2", "3"})  // the folder has no third
    for (const char* question : {"Is A?", "Is B?"})
      lines += fmt::format(R"({{"question_id": "count/{}.png", "prompt": "{}{}", "text": "yes"}})", image, question,
                           request) +
               "\n";
  EXPECT_EQ(open_benchmark(mme(), false).score(answers(mme(), lines)).count, 4);
  EXPECT_EQ(answers(textvqa(), R"({"question_id": "i", "prompt": "What?\nS1", "text": "x"}
{"question_id": "k", "text": "of another image, in any form"}
{"question_id": "k", "prompt": "one line", "text": "x"}
{"question_id": "i", "prompt": "Who?\nS1", "text": "x"}
{"question_id": "j", "text": "x"})")
                .text.size(),
            2u);
}

/// A plain question file may give several questions one id.
TEST_F(Benchmarks, TellQuestionsOfOneIdByTheirOrder) {
  write_file(folder_ / "q.jsonl", R"({"question_id": 5, "text": "a?", "answer": "a"}
{"question_id": 6, "text": "b?", "answer": "b"}
{"question_id": 5, "text": "c?", "answer": "c"}
{"question_id": 5, "text": "c?", "answer": "d"})");
  const EvaluateOptions made = options("vqa", "q.jsonl", "");
  const OpenBenchmark open = open_benchmark(made, false);
  const auto line = [](int id, const char* text) {
    return fmt::format(R"({{"question_id": {}, "text": "{}"}})"
                       "\n",
                       id, text);
  };
  const auto values = [&](const std::string& lines) { return open.score(answers(made, lines)).values; };
  EXPECT_EQ(values(line(5, "a") + line(5, "c") + line(6, "x") + line(5, "d")), (std::vector<double>{1, 0, 1, 1}));
  EXPECT_EQ(values(line(5, "a") + line(5, "c") + line(6, "x") + line(5, "x") + line(5, "d")),
            (std::vector<double>{1, 0, 1, 1}));
  EXPECT_USER_ERROR(values(line(5, "a") + line(5, "c") + line(6, "x")), "no answer for question 5");

  // A journal says which of them a line answers, as they may be asked in another order; so may shards.
  const fs::path file = folder_ / "j/vqa.jsonl";
  {
    AnswerJournal journal(file, "f", open.key_of());
    for (const size_t i : {3u, 1u, 2u, 0u}) journal.add(open.samples->at(i), std::to_string(i), "m");
    journal.flush();
  }
  const std::map<std::string, std::string> expected{{"5", "0"}, {"5\n2", "2"}, {"5\n3", "3"}, {"6", "1"}};
  EXPECT_EQ(AnswerJournal(file, "f", open.key_of()).answers(), expected);
  EXPECT_EQ(read_answers(file, open).text, expected);
  const std::vector<int64_t> shards = shards_of(open, 2);
  EXPECT_EQ(shards, (std::vector<int64_t>{1, 2, 1, 1}));
  write_file(file, R"({"question_id": 5, "text": "x", "metadata": {"repeat": 4}})");
  EXPECT_USER_ERROR(read_answers(file, open), "vqa.jsonl:1: metadata: 'repeat' should be an integer in [1, 3]");
}

TEST_F(Benchmarks, TellMmeQuestionsOfAnImageApart) {
  const EvaluateOptions made = mme();
  const auto line = [](const char* id, const char* prompt, const char* text) {
    return fmt::format(
        R"({{"question_id": "count/{}.png", "prompt": "{}\nAnswer the question using a single word or phrase.", )"
        R"("text": "{}"}})"
        "\n",
        id, prompt, text);
  };
  const std::string all = line("1", "Is A?", "yes") + line("1", "Is B?", "no") + line("2", "Is B?", "no");
  EXPECT_USER_ERROR(open_benchmark(made, false).score(answers(made, all)), "no answer for question count/2.png");
  const Answers given = answers(made, all + line("2", "Is A?", "no") + line("2", "Is A?", "yes\\t\\n"));
  EXPECT_DOUBLE_EQ(open_benchmark(made, false).score(given).score, 200);
  EXPECT_USER_ERROR(answers(made, R"({"question_id": "count/1.png", "text": "yes"})"),
                    "answers.jsonl:1: 'prompt' is missing");
  EXPECT_USER_ERROR(answers(made, line("3", "Is A?", "no")), "answers.jsonl:1: question_id count/3.png is not among");
}

TEST_F(Benchmarks, GiveEachTextVqaLineItsAnswer) {
  const EvaluateOptions made = textvqa();
  const auto line = [](const char* id, const char* prompt, const char* text) {
    return fmt::format(R"({{"question_id": "{}", "prompt": "{}\nS1", "text": "{}"}})"
                       "\n",
                       id, prompt, text);
  };
  const auto values = [&](const std::string& lines) {
    return open_benchmark(made, false).score(answers(made, lines)).values;
  };
  const std::string two = line("i", "WHAT?", "x") + line("i", "What?", "y");
  EXPECT_EQ(values(two + line("j", "What?", "x")), (std::vector<double>{1, 0, 1}));
  EXPECT_EQ(values(two + line("i", "What?", "x") + R"({"question_id": "j", "text": "x"})"),
            (std::vector<double>{1, 1, 1}));
  EXPECT_USER_ERROR(values(line("i", "What?", "x") + line("j", "What?", "x")), "no answer for question i");
  EXPECT_USER_ERROR(values(R"({"question_id": "i", "text": "x"})"),
                    "'prompt' is missing, and 2 questions are asked about image i");
  EXPECT_USER_ERROR(values(R"({"question_id": "k", "text": "x"})"), "question_id k is not among the questions");
  EXPECT_USER_ERROR(values(line("i", "Who?", "x")), "answers.jsonl:1: question_id i is not among the questions");
}

TEST_F(Benchmarks, ChooseWholeUnits) {
  EvaluateOptions made = pope(50);
  made.dataset.samples = 7;
  const OpenBenchmark open = open_benchmark(made, false);
  EXPECT_EQ(open.samples->size(), 7u);
  EXPECT_EQ(open_benchmark(made, false).samples->at(3).id, open.samples->at(3).id);
  Answers given;
  for (const Sample& sample : *open.samples) given.text[sample.id] = "yes";
  EXPECT_EQ(open.score(given).count, 7);
  EvaluateOptions points = mme();
  points.dataset.samples = 1;
  const OpenBenchmark pair = open_benchmark(points, false);
  ASSERT_EQ(pair.samples->size(), 2u);
  EXPECT_EQ(pair.samples->at(0).id, pair.samples->at(1).id);
}

TEST_F(Benchmarks, JournalWhatTheirScriptsRead) {
  write_file(folder_ / "m.tsv", "index\tquestion\thint\tA\tB\tanswer\timage\n1\tq\th\ta\tb\tA\t/9j/AAAA\n");
  const OpenBenchmark choice = open_benchmark(options("mmbench", "m.tsv", ""), true);
  {
    AnswerJournal journal(folder_ / "j/mmbench.jsonl", "f", choice.key_of());
    journal.add(choice.samples->at(0), "B", "m");
    journal.flush();
  }
  const Json record = parse_json(read_file(folder_ / "j/mmbench.jsonl"), "journal");
  EXPECT_EQ(record["question_id"], 1);
  EXPECT_EQ(record["round_id"], 0);
  EXPECT_EQ(record["prompt"], "h\nq\nA. a\nB. b");
  EXPECT_EQ(record["options"], (Json{"a", "b"}));
  EXPECT_EQ(record["option_char"], (Json{"A", "B"}));

  // Where ids repeat, a continued journal still knows which question each line answers.
  for (const EvaluateOptions& made : {mme(), textvqa()}) {
    const OpenBenchmark open = open_benchmark(made, false);
    const fs::path file = folder_ / ("j/" + made.benchmark + ".jsonl");
    std::map<std::string, std::string> expected;
    std::vector<const Sample*> order;
    {
      AnswerJournal journal(file, "f", open.key_of());
      for (const Sample& sample : *open.samples) {
        journal.add(sample, expected[question_key(sample)] = std::to_string(expected.size()), "m");
        order.push_back(&sample);
      }
      journal.flush();
    }
    const std::string in_order = read_file(file);
    {  // asked the other way round, but for lines that only their order tells apart
      fs::remove(file);
      AnswerJournal journal(file, "f", open.key_of());
      std::vector<const Sample*> asked = order;
      std::stable_sort(asked.begin(), asked.end(), [](const Sample* a, const Sample* b) { return a->id > b->id; });
      for (const Sample* sample : asked) journal.add(*sample, expected[question_key(*sample)], "m");
      journal.arrange(order);
    }
    EXPECT_EQ(read_file(file), in_order);
    EXPECT_EQ(expected.size(), open.samples->size());
    EXPECT_EQ(AnswerJournal(file, "f", open.key_of()).answers(), expected);
    EXPECT_EQ(read_answers(file, open).text, expected);
  }
}

}  // namespace
}  // namespace yopo
