// Readers of the benchmarks answered by a letter: ScienceQA, MMBench.
#include <gtest/gtest.h>

#include "evaluation/benchmarks/mmbench/score.h"
#include "evaluation/benchmarks/scienceqa/read.h"
#include "tests/evaluation/benchmark_files.h"
#include "tests/support/captured_notes.h"

namespace yopo {
namespace {

using testing::base64;
using testing::BenchmarkFiles;
using testing::kDemoImage;

struct ScienceQaFiles : BenchmarkFiles {
  ScienceQaFiles() {
    source.images_needed = false;
    source.protocol.request = kOptionLetter;
    ask(R"({"id": "4", "image": "4/image.png", "conversations": [
      {"from": "human", "value": "<image>\nContext: N/A\nQuestion: Q\nOptions: (A) a (B) b "}, {"from": "gpt", "value": "A"}]},
      {"id": "5", "conversations": [{"from": "human", "value": "Context: c"}]})");
    write("sqa/problems.json",
          R"({"4": {"choices": ["a", "b"], "answer": 1}, "5": {"choices": ["a", "b", "c"], "answer": 0},
      "6": {"choices": ["a"], "answer": 0}, "7": {"choices": ["a"], "answer": 0}})");
    splits(R"("4", "5", "6")");
    source.dataset.annotations = (*this) / "sqa";
  }
  void ask(const std::string& records) { source.dataset.questions = write("q.json", "[" + records + "]"); }
  void splits(const std::string& test) { write("sqa/pid_splits.json", R"({"train": [], "test": [)" + test + "]}"); }
  ScienceQa read() const { return read_scienceqa(source); }
};

TEST(ReadScienceQa, AsksAsLlavaDoes) {
  ScienceQaFiles files;
  const ScienceQa data = files.read();
  ASSERT_EQ(data.samples.size(), 2u);
  const std::string letter = "\nAnswer with the option's letter from the given choices directly.";
  EXPECT_EQ(data.samples[0].text, "Context: N/A\nQuestion: Q\nOptions: (A) a (B) b" + letter);
  EXPECT_EQ(data.samples[0].prompt, "<image>\n" + data.samples[0].text);
  EXPECT_EQ(data.samples[1].prompt, std::nullopt);
  EXPECT_TRUE(data.questions[0].image);
  EXPECT_FALSE(data.questions[1].image);
  EXPECT_EQ(data.samples[0].answers, std::vector<std::string>{"B"});
  EXPECT_EQ(data.questions[1].choices, 3);
  EXPECT_EQ(data.unasked, 1);
  files.source.dataset.annotations =
      (files / "sqa/pid_splits.json").string() + "," + (files / "sqa/problems.json").string();
  EXPECT_EQ(files.read().samples.size(), 2u);
}

TEST(ReadScienceQa, RefusesWhatDoesNotFit) {
  ScienceQaFiles files;
  files.splits(R"("4", "5", "8")");
  EXPECT_USER_ERROR(files.read(), "pid_splits.json: test: problem 8 is not in");
  files.ask(R"({"id": "4", "conversations": [{"from": "human", "value": "x"}]},
    {"id": "8", "conversations": [{"from": "human", "value": "x"}]})");
  EXPECT_USER_ERROR(files.read(), "q.json: record 1: question 8 is not in");
  files.ask(R"({"id": "4", "conversations": [{"from": "human", "value": "x"}]},
    {"id": "5", "conversations": [{"from": "human", "value": "x"}]})");
  files.splits(R"("4")");
  EXPECT_USER_ERROR(files.read(), "q.json: record 1: question 5 is not in split test");
  files.splits(R"("4", "5", "4")");
  EXPECT_USER_ERROR(files.read(), "problem 4 is listed twice");
  files.splits(R"("4", "5")");
  files.ask(R"({"id": "9", "conversations": [{"from": "human", "value": "x"}]})");
  EXPECT_USER_ERROR(files.read(), "q.json: record 0: question 9 is not in");
  files.ask(
      R"({"id": "4", "conversations": [{"from": "human", "value": "x"}]}, {"id": 4, "conversations": [{"from": "human", "value": "x"}]})");
  EXPECT_USER_ERROR(files.read(), "q.json: record 1: the id 4 is taken by");
  files.write("sqa/problems.json", R"({"4": {"choices": ["a", "b"], "answer": 2}})");
  EXPECT_USER_ERROR(files.read(), "problems.json: 4: 'answer' should be an integer in [0, 1]");
  files.source.dataset.annotations = files / "sqa/problems.json";
  EXPECT_USER_ERROR(files.read(), "expected problems.json and pid_splits.json");
}

using Row = std::map<std::string, std::string>;

struct MmbenchFiles : BenchmarkFiles {
  const std::vector<std::string> columns{"index", "question", "hint",     "A",     "B",      "C",
                                         "D",     "answer",   "category", "image", "source", "l2-category"};
  const std::string image = base64(testing::read_file(kDemoImage));
  std::vector<Row> rows;

  void add(const Row& row) {
    Row whole{{"index", std::to_string(rows.size())},
              {"question", "Q?"},
              {"hint", "nan"},
              {"A", "a"},
              {"B", "b"},
              {"C", "c"},
              {"D", "d"},
              {"answer", "A"},
              {"category", "cat"},
              {"image", image},
              {"source", "s"},
              {"l2-category", "l2"}};
    for (const auto& [name, value] : row) whole[name] = value;
    rows.push_back(whole);
  }
  std::string text() const {
    std::string out = fmt::format("{}\n", fmt::join(columns, "\t"));
    for (const Row& row : rows) {
      std::vector<std::string> fields;
      for (const std::string& name : columns) fields.push_back(row.at(name));
      out += fmt::format("{}\n", fmt::join(fields, "\t"));
    }
    return out;
  }
  Mmbench read() {
    source.dataset.questions = write("m.tsv", text());
    source.protocol.request = kOptionLetter;
    return read_mmbench(source);
  }
};

TEST(ReadMmbench, AsksAsLlavaDoes) {
  MmbenchFiles files;
  files.add({{"question", "\"Two\nlines?\""}, {"hint", "A hint"}, {"answer", "C"}});
  files.add({{"index", "1000000"}, {"B", "\"say \"\"b\"\"\""}, {"C", "nan"}, {"D", "d"}});
  const Mmbench data = files.read();
  ASSERT_EQ(data.samples.size(), 2u);
  const std::string letter = "\nAnswer with the option's letter from the given choices directly.";
  EXPECT_EQ(*data.samples[0].prompt, "A hint\nTwo\nlines?\nA. a\nB. b\nC. c\nD. d");
  EXPECT_EQ(data.samples[0].text, *data.samples[0].prompt + letter);
  EXPECT_EQ(*data.samples[1].prompt, "Q?\nA. a\nB. say \"b\"");  // options stop at the first nan, even in mid-list
  EXPECT_EQ(data.questions[1].letters, "AB");
  EXPECT_EQ(data.questions[1].choices.size(), 3u);  // VLMEvalKit and lmms-eval do not stop there
  EXPECT_EQ(data.questions[0].answer, 'C');
  EXPECT_EQ(data.samples[0].options, (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(data.samples[1].where, (files / "m.tsv").string() + ":4");
  EXPECT_EQ(data.questions[1].l2_category, "l2");
  EXPECT_TRUE(data.annotated);
}

TEST(ReadMmbench, KnowsEveryMissingValue) {
  for (const char* none :
       {"", "NA", "N/A", "n/a", "NULL", "null", "NaN", "nan", "None", "<NA>", "#N/A", "-nan", "NAN", "none", "NONE"}) {
    MmbenchFiles files;
    files.add({{"hint", none}, {"B", none}});
    EXPECT_EQ(*files.read().samples[0].prompt, "Q?\nA. a") << none;
  }
  for (const char* some : {"na", "Null", " nan", "0", "no"}) {
    MmbenchFiles files;
    files.add({{"hint", some}, {"C", "nan"}});
    EXPECT_EQ(*files.read().samples[0].prompt, std::string(some) + "\nQ?\nA. a\nB. b") << some;
  }
}

TEST(ReadMmbench, ARightOptionMayLookLikeNone) {
  for (const std::string own : {"None", "nan", "NaN", "NA", "null", "none", "NAN"}) {
    MmbenchFiles files;
    files.add({{"answer", "D"}, {"D", own}});
    files.add({{"index", "1000000"}, {"answer", "A"}, {"B", own}, {"C", "nan"}});
    const testing::CapturedNotes said;
    const Mmbench data = files.read();
    EXPECT_EQ(*data.samples[0].prompt, "Q?\nA. a\nB. b\nC. c") << own;  // asked as LLaVA does
    ASSERT_EQ(data.questions[0].choices.size(), 4u) << own;
    EXPECT_EQ(data.questions[0].choices[3], std::pair('D', own));
    EXPECT_EQ(data.questions[1].choices.size(), own == "none" || own == "NAN" ? 3u : 2u) << own;
    EXPECT_TRUE(
        said.has("1 right options are not among those asked, the first at " + (files / "m.tsv").string() + ":2"))
        << said.text();
    const Score score = score_mmbench(data, {"answers.jsonl", {{"0", "D"}, {"1000000", "A"}}},
                                      "letter");  // both right, so the group is
    EXPECT_EQ(score.score, 1) << own;
    for (const char* rule : {"vlmevalkit", "lmms"})
      EXPECT_EQ(score_mmbench(data, {"answers.jsonl", {{"0", "(D)"}, {"1000000", "A"}}}, rule).score, 1) << own << rule;
  }
}

TEST(ReadMmbench, ReadsTheImageWhereItLies) {
  MmbenchFiles files;
  files.add({});
  files.add({{"index", "1000000"}, {"image", "0"}});  // VLMEvalKit's files name the row of the image
  const Mmbench data = files.read();
  const Image expected = read_image(kDemoImage, "");
  for (const Sample& sample : data.samples) {
    EXPECT_TRUE(sample.images.empty());
    ASSERT_EQ(sample.encoded.size(), 1u);
    const Image image = read_image(sample.encoded[0], sample.where);
    EXPECT_EQ(image.width, expected.width);
    EXPECT_EQ(image.rgb, expected.rgb);
  }
  EXPECT_EQ(data.samples[0].encoded[0].text(), files.image);
  EXPECT_NE(dataset_fingerprint({data.samples[0]}), dataset_fingerprint({}));
}

TEST(ReadMmbench, RefusesDamage) {
  const auto message = [](const Row& row, std::string_view part) {
    MmbenchFiles files;
    files.add({});
    files.add(row);
    EXPECT_USER_ERROR(files.read(), std::string(part));
  };
  const std::string image = MmbenchFiles().image;
  message({{"index", "0"}}, "m.tsv:3: the id 0 is taken by");
  message({{"index", "x"}}, "m.tsv:3: index: expected an integer, found 'x'");
  message({{"answer", "E"}}, "m.tsv:3: answer: expected one of A, B, C, D, found 'E'");
  message({{"answer", "D"}, {"D", ""}}, "m.tsv:3: answer: 'D' is the letter of no option: its field is empty");
  message({{"answer", "AB"}}, "m.tsv:3: answer");
  message({{"answer", "nan"}}, "m.tsv:3: answer: expected a letter, found none");
  message({{"question", "nan"}}, "m.tsv:3: question: expected a text");
  message({{"image", base64("GIF89a not an image")}}, "m.tsv:3: image: expected a PNG or JPEG image, found GIF");
  message({{"image", ""}}, "m.tsv:3: image: expected a PNG or JPEG image, found an empty file");
  message({{"image", image.substr(0, image.size() - 3)}}, "m.tsv:3: image: not base64: it ends inside a group of four");
  message({{"image", "77"}}, "m.tsv:3: image: no row has the index 77");
  message({{"image", "@" + image.substr(1)}}, "m.tsv:3: image: not base64: '@' at byte 0");
  message({{"question", "\xFF"}}, "m.tsv:3: question: not UTF-8");

  MmbenchFiles files;
  files.add({});
  files.add({});
  const std::string whole = files.text();
  files.source.dataset.questions = files.write("cut.tsv", whole.substr(0, whole.size() - 20));
  EXPECT_USER_ERROR(read_mmbench(files.source), "cut.tsv:3: expected 12 fields as in the header, found 10");
  // A cut image is known when it is decoded.
  files.rows[1]["image"] = files.image.substr(0, files.image.size() / 8 * 4);
  const Mmbench data = files.read();
  EXPECT_USER_ERROR(read_image(data.samples[1].encoded[0], data.samples[1].where), "m.tsv:3: the image in");
}

TEST(ReadMmbench, DropsGroupsWithoutTheirMainRow) {
  MmbenchFiles files;
  files.add({{"index", "7"}});
  files.add({{"index", "1000008"}});
  files.add({{"index", "2000007"}});
  const Mmbench data = files.read();
  EXPECT_TRUE(data.questions[0].scored);
  EXPECT_FALSE(data.questions[1].scored);
  EXPECT_TRUE(data.questions[2].scored);
  for (Row& row : files.rows) row["answer"] = "";
  EXPECT_FALSE(files.read().annotated);
}

}  // namespace
}  // namespace yopo
