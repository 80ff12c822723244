#include "datasets/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/progress.h"
#include "tests/support/captured_notes.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

const fs::path kDemo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid/data";

/// A data set in a folder of its own: images a.png and sub/b.png and the given files.
class Dataset {
 public:
  explicit Dataset(const std::string& questions, const std::string& answers = "") {
    write_file(folder_ / "images/a.png", "image a");
    write_file(folder_ / "images/sub/b.png", "image b");
    write_file(folder_ / "outside.png", "outside");
    write_file(folder_ / "questions.jsonl", questions);
    if (!answers.empty()) write_file(folder_ / "answers.jsonl", answers);
    options.questions = folder_ / "questions.jsonl";
    options.images = folder_ / "images";
  }
  const TemporaryFolder& folder() const { return folder_; }
  std::vector<Sample> read() const { return read_samples(options); }
  DatasetOptions options;

 private:
  TemporaryFolder folder_;
};

std::vector<std::string> ids(const std::vector<Sample>& samples) {
  std::vector<std::string> out;
  out.reserve(samples.size());
  for (const Sample& sample : samples) out.push_back(sample.id);
  return out;
}

TEST(ReadSamples, ReadsTheDemo) {
  DatasetOptions options;
  options.questions = kDemo / "test/questions.jsonl";
  options.images = kDemo / "test/images";
  const std::vector<Sample> samples = read_samples(options);
  ASSERT_EQ(samples.size(), 1000u);
  EXPECT_EQ(samples[1].id, "1");
  EXPECT_TRUE(samples[1].integer_id);
  EXPECT_EQ(samples[1].text, "What digit is at row 2, column 2?");
  EXPECT_EQ(samples[1].category, "location");
  EXPECT_EQ(samples[1].answers, std::vector<std::string>{"9"});
  EXPECT_EQ(samples[1].images, std::vector<fs::path>{kDemo / "test/images/0000.png"});
  EXPECT_EQ(samples[1].where, (kDemo / "test/questions.jsonl").string() + ":2");
}

TEST(ReadSamples, ReadsEveryKindOfQuestion) {
  const Dataset data(
      R"({"question_id": "x", "image": "a.png", "text": "<image>\nWhat?", "category": "c", "answer": "red"}

{"question_id": -3, "text": " Why? ", "answers": ["a", 2, "a"]}
{"question_id": 4, "image": ["a.png", "sub/b.png"], "text": "Same?"}
{"question_id": 5, "image": null, "text": "Who?", "answer": 7}
)");
  const std::vector<Sample> samples = data.read();
  ASSERT_EQ(samples.size(), 4u);
  EXPECT_EQ(ids(samples), (std::vector<std::string>{"x", "-3", "4", "5"}));
  EXPECT_FALSE(samples[0].integer_id);
  EXPECT_EQ(samples[0].text, "What?");
  EXPECT_EQ(samples[0].answers, std::vector<std::string>{"red"});
  EXPECT_EQ(samples[1].text, " Why? ");
  EXPECT_EQ(samples[1].answers, (std::vector<std::string>{"a", "2", "a"}));
  EXPECT_EQ(samples[1].where, data.options.questions.string() + ":3");
  EXPECT_EQ(samples[2].images,
            (std::vector<fs::path>{data.options.images / "a.png", data.options.images / "sub/b.png"}));
  EXPECT_TRUE(samples[3].images.empty());
  EXPECT_EQ(samples[3].answers, std::vector<std::string>{"7"});
}

TEST(ReadSamples, JoinsAnnotations) {
  const std::string questions = R"({"question_id": 1, "text": "a?", "answer": "inline"}
{"question_id": "two", "text": "b?"}
{"question_id": 3, "text": "c?", "answer": "kept"})";
  const Dataset beside(questions, R"({"question_id": "1", "text": "first"}
{"question_id": 1, "text": "last"}
{"question_id": "two", "answers": ["p", "q"]})");
  const std::vector<Sample> samples = beside.read();
  EXPECT_EQ(samples[0].answers, std::vector<std::string>{"last"});
  EXPECT_EQ(samples[1].answers, (std::vector<std::string>{"p", "q"}));
  EXPECT_EQ(samples[2].answers, std::vector<std::string>{"kept"});
  // A file that may belong to other questions does not replace answers in silence.
  std::vector<std::string> warnings;
  set_progress_sink(ProgressSink{{}, [&](const std::string& line) { warnings.push_back(line); }, {}});
  (void)beside.read();
  (void)Dataset(questions, R"({"question_id": 3, "text": "kept"})").read();
  set_progress_sink({});
  ASSERT_EQ(warnings.size(), 2u) << "the second answer to question 1, and that it takes the place of another";
  EXPECT_NE(warnings[1].find("takes the place of 1 other answers"), std::string::npos) << warnings[1];

  Dataset named(questions);
  named.options.annotations = named.folder() / "labels.jsonl";
  EXPECT_USER_ERROR(named.read(), "labels.jsonl");
  write_file(named.options.annotations, R"({"question_id": 9, "text": "x"})");
  EXPECT_USER_ERROR(named.read(), "labels.jsonl:1: an answer to question 9");  // another set's file
  write_file(named.options.annotations, R"({"question_id": 9, "text": "x"}
{"question_id": 3, "text": "y"}
{"question_id": 8, "text": "x"})");
  {
    const testing::CapturedNotes said;
    EXPECT_EQ(named.read()[2].answers, std::vector<std::string>{"y"});
    EXPECT_TRUE(said.has("labels.jsonl: 2 answers to questions that")) << said.text();
  }
  write_file(named.options.annotations, R"({"question_id": 1})");
  EXPECT_USER_ERROR(named.read(), "labels.jsonl:1: no answer");
  write_file(named.options.annotations, R"({"question_id": 1, "text": {"a": 1}})");
  EXPECT_USER_ERROR(named.read(), "labels.jsonl:1: text");
}

TEST(ReadSamples, AnIdIsALabel) {
  Dataset data(R"({"question_id": "x", "image": "a.png", "text": "a?"}
{"question_id": 7, "text": "b?"}
{"question_id": "x", "image": "sub/b.png", "text": "c?"}
{"question_id": "7", "text": "d?"}
{"question_id": "x", "text": "e?"})",
               R"({"question_id": "x", "text": "first"}
{"question_id": "x", "text": "second"}
{"question_id": 7, "text": "of b"}
{"question_id": "x", "text": "third"}
{"question_id": "x", "text": "the last counts"})");
  const std::vector<Sample> samples = data.read();
  EXPECT_EQ(ids(samples), (std::vector<std::string>{"x", "7", "x", "7", "x"}));
  std::vector<int64_t> repeats;
  std::vector<std::string> answers;
  std::set<std::string> keys;
  for (const Sample& sample : samples) {
    repeats.push_back(sample.repeat);
    answers.push_back(sample.answers.empty() ? "none" : sample.answers[0]);
    keys.insert(question_key(sample));
  }
  EXPECT_EQ(repeats, (std::vector<int64_t>{1, 1, 2, 2, 3}));
  EXPECT_EQ(keys.size(), 5u);
  EXPECT_EQ(answers, (std::vector<std::string>{"first", "of b", "second", "none", "the last counts"}));

  data.options.format = "conversations";
  write_file(data.options.questions,
             R"([{"id": "1", "conversations": [{"from": "human", "value": "a"}]},
                {"id": "1", "conversations": [{"from": "human", "value": "b"}]}])");
  EXPECT_EQ(data.read()[1].repeat, 2);
}

TEST(ReadSamples, ALineNeedsNoId) {
  Dataset data(R"({"image": "a.png", "question": "What?", "answer": "red"}
{"image": "sub/b.png", "question": "Why?", "answers": ["a", "b"]})",
               R"({"question_id": 0, "text": "an answer to some other question 0"})");
  const std::vector<Sample> samples = data.read();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(ids(samples), (std::vector<std::string>{"0", "1"}));
  EXPECT_TRUE(samples[0].integer_id);
  EXPECT_EQ(samples[0].text, "What?");
  EXPECT_EQ(samples[0].answers, std::vector<std::string>{"red"});
  EXPECT_EQ(samples[1].answers, (std::vector<std::string>{"a", "b"}));
  data.options.annotations = data.folder() / "answers.jsonl";
  EXPECT_USER_ERROR(data.read(), "answers.jsonl");

  const Dataset mixed("{\"question\": \"a\"}\n{\"question\": \"b\", \"question_id\": 1}\n");
  EXPECT_USER_ERROR(mixed.read(), "questions.jsonl:2: 'question_id' is given");
  const Dataset other("{\"question\": \"a\", \"question_id\": 1}\n{\"question\": \"b\"}\n");
  EXPECT_USER_ERROR(other.read(), "questions.jsonl:2: 'question_id' is missing");
}

TEST(ReadSamples, AnswersNextToTheQuestionsMayServeOtherFilesToo) {
  const Dataset data(R"({"question_id": 1, "text": "a?"})",
                     R"({"question_id": 9, "text": "of test.jsonl"}
{"question_id": 1, "text": "yes"})");
  EXPECT_EQ(data.read()[0].answers, std::vector<std::string>{"yes"});
}

TEST(ReadSamples, ReadsConversations) {
  Dataset data(R"([
 {"id": "s1", "image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A dog."},
   {"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]},
 {"id": 2, "conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hello"}]}])");
  data.options.format = "conversations";
  const std::vector<Sample> samples = data.read();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].text, "What is it?");
  EXPECT_EQ(samples[0].answers, std::vector<std::string>{"A dog."});
  EXPECT_EQ(samples[0].images.size(), 1u);
  EXPECT_EQ(samples[1].text, "Hello");
  EXPECT_TRUE(samples[1].answers.empty());
  EXPECT_NE(samples[1].where.find("questions.jsonl: record 1"), std::string::npos);
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "expected a list"},
           {"[]", "no samples"},
           {"[3]", "record 0: expected an object"},
           {R"([{"id": 1}])", "conversations"},
           {R"([{"id": 1, "conversations": [{"from": "gpt", "value": "x"}]}])", "no turn from human"},
           {R"([{"id": 1, "conversations": [{"from": "user", "value": "x"}]}])", "'user'"}}) {
    write_file(data.options.questions, text);
    EXPECT_USER_ERROR(data.read(), part);
  }
}

TEST(ReadSamples, RefusesBadRecordsByLine) {
  const std::string good = "{\"question_id\": 0, \"text\": \"ok?\"}\n";
  for (const auto& [line, part] : std::vector<std::pair<std::string, std::string>>{
           {R"({"question_id": 1, "text": )", ":2:"},
           {R"([1])", ":2: expected an object"},
           {R"({"text": "a"})", ":2: 'question_id' is missing"},
           {R"({"question_id": 1.5, "text": "a"})", ":2: 'question_id'"},
           {R"({"question_id": "", "text": "a"})", ":2: 'question_id'"},
           {R"({"question_id": 1})", "'text'"},
           {R"({"question_id": 1, "text": 2})", "'text'"},
           {R"({"question_id": 1, "text": "a", "image": 3})", ":2: image"},
           {R"({"question_id": 1, "text": "a", "image": "c.png"})", "c.png is not there"},
           {R"({"question_id": 1, "text": "a", "image": "sub"})", "is not there"},
           {R"({"question_id": 1, "text": "a", "image": "../outside.png"})", ":2: image: '../outside.png' leaves"},
           {R"({"question_id": 1, "text": "a", "image": "/etc/passwd"})", "absolute"},
           {R"({"question_id": 1, "text": "<image>\na"})", "1 <image> for 0 images"},
           {R"({"question_id": 1, "text": "<image><image>a", "image": "a.png"})", "2 <image> for 1 images"},
           {R"({"question_id": 1, "text": "a", "answers": []})", "the list is empty"}}) {
    const Dataset data(good + line);
    EXPECT_USER_ERROR(data.read(), part);
  }
  Dataset none("\n");
  EXPECT_USER_ERROR(none.read(), "no samples");
  none.options.format = "lava";
  EXPECT_USER_ERROR(none.read(), "did you mean 'llava'");
  Dataset blind(R"({"question_id": 1, "text": "a", "image": "a.png"})");
  blind.options.images.clear();
  EXPECT_USER_ERROR(blind.read(), "no images folder");
  blind.options.images = blind.folder() / "nowhere";
  EXPECT_USER_ERROR(blind.read(), "is not a folder");
}

std::vector<Sample> numbered(const std::vector<std::string>& names) {
  std::vector<Sample> samples;
  for (const std::string& name : names) {
    Sample sample;
    sample.integer_id = name[0] != '"';
    sample.id = sample.integer_id ? name : name.substr(1);
    samples.push_back(sample);
  }
  return samples;
}

TEST(ChooseSamples, SortsNumbersByValueAndTextsBehind) {
  const auto chosen =
      choose_samples(numbered({"\"b", "10", "9", "-10", "\"10", "-9", "0", "18446744073709551615", "\"B"}), 0, 1);
  EXPECT_EQ(ids(chosen),
            (std::vector<std::string>{"-10", "-9", "0", "9", "10", "18446744073709551615", "10", "B", "b"}));
}

TEST(ChooseSamples, DependsOnSeedAndIdsOnly) {
  std::vector<std::string> names;
  names.reserve(200);
  for (int i = 0; i < 200; ++i) names.push_back(std::to_string(i));
  const auto chosen = ids(choose_samples(numbered(names), 20, 0));
  EXPECT_EQ(chosen.size(), 20u);
  std::reverse(names.begin(), names.end());
  EXPECT_EQ(ids(choose_samples(numbered(names), 20, 0)), chosen);
  EXPECT_NE(ids(choose_samples(numbered(names), 20, 1)), chosen);
  // The smaller choice is part of the larger one, and of the choice from fewer samples as far as they are there.
  const auto fewer = ids(choose_samples(numbered(names), 10, 0));
  for (const std::string& id : fewer) EXPECT_NE(std::find(chosen.begin(), chosen.end(), id), chosen.end());
  EXPECT_EQ(choose_samples(numbered(names), 500, 0).size(), 200u);
  // Frozen: published results name seed and count.
  EXPECT_EQ(fewer, (std::vector<std::string>{"7", "14", "37", "72", "85", "91", "98", "116", "135", "193"}));
}

TEST(ChooseSamples, TellsSamplesOfOneIdByTheirPlace) {
  std::vector<Sample> samples = numbered(std::vector<std::string>(50, "7"));
  for (size_t i = 0; i < samples.size(); ++i) samples[i].repeat = int64_t(i) + 1;
  const auto repeats = [](const std::vector<Sample>& chosen) {
    std::vector<int64_t> all;
    all.reserve(chosen.size());
    for (const Sample& sample : chosen) all.push_back(sample.repeat);
    return all;
  };
  const std::vector<int64_t> chosen = repeats(choose_samples(samples, 10, 0));
  EXPECT_EQ(chosen.size(), 10u);
  EXPECT_GT(chosen.back(), 20);  // not the first ten
  EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
  std::reverse(samples.begin(), samples.end());
  EXPECT_EQ(repeats(choose_samples(samples, 10, 0)), chosen);
  EXPECT_NE(repeats(choose_samples(samples, 10, 1)), chosen);
}

TEST(DatasetFingerprint, SeesEveryChangeThatMatters) {
  const Dataset data(R"({"question_id": 1, "image": "a.png", "text": "q", "category": "c", "answer": "x"}
{"question_id": 2, "image": "a.png", "text": "q", "answer": "x"})");
  const std::vector<Sample> samples = data.read();
  const std::string print = dataset_fingerprint(samples);
  EXPECT_EQ(print.size(), 32u);
  EXPECT_EQ(dataset_fingerprint(data.read()), print);
  std::set<std::string> seen = {print};
  const auto expect_new = [&](auto change) {
    std::vector<Sample> other = samples;
    change(other);
    EXPECT_TRUE(seen.insert(dataset_fingerprint(other)).second);
  };
  expect_new([](auto& s) { s.pop_back(); });
  expect_new([](auto& s) { std::swap(s[0], s[1]); });
  expect_new([](auto& s) { s[0].id = "3"; });
  expect_new([](auto& s) { s[0].text += "?"; });
  expect_new([](auto& s) { s[0].category = "d"; });
  expect_new([](auto& s) { s[0].answers.push_back(""); });
  expect_new([](auto& s) { s[0].images.clear(); });
  expect_new([&](auto& s) { s[0].images = {data.options.images / "sub/b.png"}; });
  // The folder's place does not matter, the bytes do.
  const Dataset moved(read_file(data.options.questions));
  EXPECT_EQ(dataset_fingerprint(moved.read()), print);
  write_file(moved.options.images / "a.png", "image A");
  EXPECT_TRUE(seen.insert(dataset_fingerprint(moved.read())).second);
}

}  // namespace
}  // namespace yopo
