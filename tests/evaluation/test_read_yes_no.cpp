// Readers of the benchmarks answered by yes or no: POPE, MME.
#include <gtest/gtest.h>

#include "evaluation/benchmarks/mme/read.h"
#include "evaluation/benchmarks/pope/read.h"
#include "tests/evaluation/benchmark_files.h"
#include "tests/support/captured_notes.h"

namespace yopo {
namespace {

using testing::BenchmarkFiles;

struct PopeFiles : BenchmarkFiles {
  PopeFiles() {
    source.images_needed = false;
    std::string lines;
    int id = 0;
    for (const char* split : {"random", "popular", "random", "adversarial", "random"})  // interleaved
      lines += fmt::format(R"({{"question_id": {}, "image": "a.jpg", "text": "Is {}?\nS1", "category": "{}"}})"
                           "\n",
                           ++id, id, split);
    source.dataset.questions = write("q.jsonl", lines);
    labels("random", {"yes", "no", "no"});
    labels("popular", {"yes"});
    labels("adversarial", {"no"});
    source.dataset.annotations = (*this) / "coco";
  }
  void labels(const std::string& split, const std::vector<std::string>& values) {
    std::string lines;
    int id = 0;
    for (const std::string& value : values)
      lines += fmt::format(R"({{"question_id": {}, "image": "a.jpg", "text": "Is", "label": "{}"}})"
                           "\n",
                           ++id, value);
    write("coco/coco_pope_" + split + ".json", lines);
  }
  Pope read() const { return read_pope(source); }
};

TEST(ReadPope, JoinsLabelsByOrderInsideASplit) {
  PopeFiles files;
  const Pope data = files.read();
  std::vector<std::string> labels;
  for (const Sample& sample : data.samples) labels.push_back(sample.answers.at(0));
  EXPECT_EQ(labels, (std::vector<std::string>{"yes", "yes", "no", "no", "no"}));
  EXPECT_TRUE(data.questions[1].yes);
  EXPECT_FALSE(data.questions[4].yes);
  files.source.dataset.annotations = (files / "coco/coco_pope_random.json").string() + "," +
                                     (files / "coco/coco_pope_popular.json").string() + "," +
                                     (files / "coco/coco_pope_adversarial.json").string();
  EXPECT_EQ(files.read().samples[2].answers[0], "no");
}

/// Labels are official files of whole splits; fewer questions are told by image and text.
TEST(ReadPope, LeavesOutLabelsOfOtherQuestions) {
  PopeFiles files;
  const auto label = [](const std::string& image, const std::string& text, const std::string& value) {
    return fmt::format(R"({{"question_id": 1, "image": "{}", "text": "{}", "label": "{}"}})"
                       "\n",
                       image, text, value);
  };
  files.labels("rare", {"yes"});
  const std::string random = label("b.jpg", "Is 1?", "no") + label("a.jpg", "Is 5?", "yes") +
                             label("a.jpg", "Is 1?", "yes") + label("a.jpg", "Is", "yes") +
                             label("a.jpg", "Is 3?", "no");
  files.write("coco/coco_pope_random.json", random);
  const testing::CapturedNotes said;
  const Pope data = files.read();
  std::vector<std::string> labels;
  for (const Sample& sample : data.samples) labels.push_back(sample.answers.at(0));
  EXPECT_EQ(labels, (std::vector<std::string>{"yes", "yes", "no", "no", "yes"}));
  EXPECT_TRUE(said.has("coco_pope_random.json: 2 annotations of questions that")) << said.text();
  EXPECT_TRUE(said.has("coco_pope_rare.json: 1 annotations of questions that")) << said.text();
  EXPECT_FALSE(said.has("the label is for another question")) << said.text();

  files.write("coco/coco_pope_random.json", random + label("a.jpg", "Is 1?", "yes"));
  EXPECT_USER_ERROR(files.read(),
                    "found 6; more labels than questions are told by image and text, which line 6 repeats");
  files.write("coco/coco_pope_random.json", random + R"({"label": "yes"})");
  EXPECT_USER_ERROR(files.read(), "which line 6 lacks");
  files.write("coco/coco_pope_random.json",
              label("a.jpg", "Is 2?", "no") + random.substr(0, random.find("Is 3?")) + R"(Is 7?", "label": "no"})");
  EXPECT_USER_ERROR(files.read(), "found 6; none is for " + files.source.dataset.questions.string() + ":3");
}

TEST(ReadPope, RefusesWhatDoesNotFit) {
  PopeFiles files;
  files.labels("random", {"yes", "no"});
  EXPECT_USER_ERROR(files.read(),
                    "coco_pope_random.json: expected a label for each of the 3 questions of split random");
  files.labels("random", {"yes", "no", "no", "no"});
  EXPECT_USER_ERROR(files.read(), "split random in " + files.source.dataset.questions.string() + ", found 4");
  files.labels("random", {"yes", "no", "Yes"});
  EXPECT_USER_ERROR(files.read(), "coco_pope_random.json:3: label: expected one of yes, no, found 'Yes'");
  files.labels("random", {"yes", "no", "no"});
  fs::remove(files / "coco/coco_pope_popular.json");
  EXPECT_USER_ERROR(files.read(), "q.jsonl:2: split popular has no labels");
  files.source.dataset.annotations = files.write("empty/readme.txt", "").parent_path();
  EXPECT_USER_ERROR(files.read(), "holds no coco_pope_*.json");
}

struct MmeFiles : BenchmarkFiles {
  MmeFiles() {
    source.dataset.images = path() / "MME";
    write("MME/artwork/images/14777.jpg", "x");
    write("MME/artwork/questions_answers_YN/14777.txt",
          "Is this A? Please answer yes or no.\tYes\r\nIs this B?  Please answer yes or no.\tNo\r\n");
    write("MME/code_reasoning/0020.png", "x");
    write("MME/code_reasoning/0020.txt",
          "Is C shown?  Please answer yes or no.\tYes\n\nIs D shown? Please answer yes or no.\tno");
  }
  Mme read() const { return read_mme(source); }
};

TEST(ReadMme, ReadsBothLayouts) {
  const MmeFiles files;
  const Mme data = files.read();
  ASSERT_EQ(data.samples.size(), 4u);
  EXPECT_EQ(data.samples[0].id, "artwork/images/14777.jpg");
  EXPECT_EQ(data.samples[2].id, "code_reasoning/0020.png");
  EXPECT_EQ(data.samples[0].text, "Is this A?\nAnswer the question using a single word or phrase.");
  EXPECT_EQ(data.samples[1].text, "Is this B?\nAnswer the question using a single word or phrase.");
  EXPECT_EQ(data.samples[0].images, std::vector<fs::path>{files / "MME/artwork/images/14777.jpg"});
  EXPECT_TRUE(data.questions[0].yes);
  EXPECT_FALSE(data.questions[3].yes);
  EXPECT_EQ(data.questions[0].pair, data.questions[1].pair);
  EXPECT_NE(data.questions[1].pair, data.questions[2].pair);
  EXPECT_EQ(data.questions[2].category, "code_reasoning");
  EXPECT_NE(data.samples[0].where.find("14777.txt:1"), std::string::npos);
}

TEST(ReadMme, FindsTheQuestionOfAnAnswer) {
  const MmeFiles files;
  const Mme data = files.read();
  const std::string request = "\nAnswer the question using a single word or phrase.";
  const auto key = [&](const std::string& id, const std::string& prompt) { return mme_key(data, id, prompt, "here"); };
  EXPECT_EQ(key("artwork/images/14777.jpg", "Is this A?" + request), data.samples[0].key);
  EXPECT_EQ(key("artwork/images/14777.jpg", "Is this B?" + request), data.samples[1].key);  // two spaces
  EXPECT_EQ(key("artwork/14777.x.jpg", "Is this B?  Please answer yes or no."), data.samples[1].key);
  EXPECT_EQ(key("code_reasoning/0020.png", " Is C shown? " + request), data.samples[2].key);
  EXPECT_USER_ERROR(key("artwork/images/14777.jpg", "Is this C?"),
                    "here: no question 'Is this C? Please answer yes or no.'");
  EXPECT_USER_ERROR(key("artwork/images/14777.jpg", "Is this B? Please answer yes or no."), "here: no question");
  EXPECT_USER_ERROR(key("artwork/images/9.jpg", "Is this A?"), "of image artwork/images/9.jpg");
}

TEST(ReadMme, TakesTheOrderOfAQuestionFile) {
  MmeFiles files;
  std::vector<std::pair<std::string, std::string>> rows{{"artwork/images/14777.jpg", "Is this B?"},
                                                        {"code_reasoning/0020.png", "Is C shown?"},
                                                        {"artwork/images/14777.jpg", "Is this A?"},
                                                        {"code_reasoning/0020.png", "Is D shown?"}};
  const auto ask = [&] {
    std::string lines;
    for (const auto& [id, text] : rows)
      lines += fmt::format(
          R"({{"question_id": "{0}", "image": "{0}", "text": "{1}\nAnswer the question using a single word or phrase."}})"
          "\n",
          id, text);
    files.source.dataset.questions = files.write("q.jsonl", lines);
  };
  ask();
  const Mme data = files.read();
  EXPECT_EQ(data.samples[0].answers[0], "No");
  EXPECT_EQ(data.questions[0].pair, data.questions[2].pair);  // consecutive in the category, not in the file
  EXPECT_EQ(data.questions[1].pair, data.questions[3].pair);
  EXPECT_EQ(data.samples[3].images, std::vector<fs::path>{files / "MME/code_reasoning/0020.png"});
  rows.pop_back();
  ask();
  EXPECT_USER_ERROR(files.read(), "q.jsonl:2: category code_reasoning has an odd number of questions");
  {
    const std::vector<std::pair<std::string, std::string>> all = rows;
    rows = {all[0], all[2]};  // the questions of one image
    ask();
    const testing::CapturedNotes said;
    EXPECT_EQ(files.read().samples.size(), 2u);
    EXPECT_TRUE(said.has("asks 2 of the 4 questions of the folder")) << said.text();
    rows = all;
  }
  rows.push_back(rows[1]);
  ask();
  EXPECT_USER_ERROR(files.read(), "q.jsonl:4: the question is asked by");
  rows.back().second = "Is E shown?";
  ask();
  EXPECT_USER_ERROR(files.read(), "q.jsonl:4: no question 'Is E shown?");
}

TEST(ReadMme, RefusesWhatDoesNotFit) {
  MmeFiles files;
  const std::string text = "MME/code_reasoning/0020.txt";
  files.write(text, "Is C shown?\tYes\n");
  EXPECT_USER_ERROR(files.read(), "0020.txt: expected the two questions of an image, found 1");
  files.write(text, "Is C shown?\tYes\nIs D shown?\tMaybe\n");
  EXPECT_USER_ERROR(files.read(), "0020.txt:2: expected the label Yes or No, found 'Maybe'");
  files.write(text, "Is C shown?\tYes\nIs D shown? No\n");
  EXPECT_USER_ERROR(files.read(), "0020.txt:2: expected a question, one tab and Yes or No");
  files.write(text, "Is C shown?\tYes\nIs C shown?\tNo\n");
  EXPECT_USER_ERROR(files.read(), "0020.txt:2: the same question twice");
  files.write(text, "Is C shown?\tYes\nIs D shown?\tNo\n");
  EXPECT_NO_THROW(files.read());
  fs::remove(files / "MME/code_reasoning/0020.png");
  EXPECT_USER_ERROR(files.read(),
                    "0020.txt:1: image " + (files / "MME/code_reasoning/0020.png").string() + " is not there");
  files.source.images_needed = false;
  EXPECT_USER_ERROR(files.read(), "0020.png is not there");  // a folder of images must hold them
  files.source.dataset.annotations = files / "MME";
  files.source.dataset.images.clear();
  EXPECT_EQ(files.read().samples.size(), 4u);
  files.source.dataset.annotations.clear();
  files.source.dataset.images = files / "MME/artwork";
  EXPECT_USER_ERROR(files.read(), "expected folders of MME's categories");
  files.source.dataset.images = files / "nowhere";
  EXPECT_USER_ERROR(files.read(), "expected the MME folder");
}

}  // namespace
}  // namespace yopo
