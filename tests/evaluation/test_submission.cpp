#include "evaluation/submission.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "formats/xlsx.h"
#include "tests/evaluation/small_benchmarks.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::SmallBenchmarks;
using testing::TemporaryFolder;

uint32_t little(const std::string& bytes, size_t at, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= uint32_t(uint8_t(bytes.at(at + i))) << 8 * i;
  return value;
}

/// The files of a zip archive by name, read through its central directory.
std::map<std::string, std::string> unzip(const std::string& bytes) {
  std::map<std::string, std::string> files;
  const size_t end = bytes.rfind("PK\5\6");
  size_t at = little(bytes, end + 16, 4);
  for (uint32_t count = little(bytes, end + 10, 2); count > 0; --count) {
    EXPECT_EQ(bytes.substr(at, 4), "PK\1\2");
    EXPECT_EQ(little(bytes, at + 12, 4), 0x00210000u) << "written at a time of its own, not on 1980-01-01";
    const uint32_t packed = little(bytes, at + 20, 4), size = little(bytes, at + 24, 4),
                   name = little(bytes, at + 28, 2);
    const size_t local = little(bytes, at + 42, 4);
    const size_t data = local + 30 + little(bytes, local + 26, 2) + little(bytes, local + 28, 2);
    std::string out(size, '\0');
    z_stream stream{};
    inflateInit2(&stream, -MAX_WBITS);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + data));
    stream.avail_in = packed;
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = size;
    EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
    inflateEnd(&stream);
    EXPECT_EQ(crc32(0, reinterpret_cast<const Bytef*>(out.data()), size), little(bytes, at + 16, 4));
    files[bytes.substr(at + 46, name)] = out;
    at += 46 + name + little(bytes, at + 30, 2) + little(bytes, at + 32, 2);
  }
  return files;
}

std::string between(const std::string& text, const std::string& start, const std::string& end, size_t& at) {
  const size_t from = text.find(start, at);
  if (from == std::string::npos) return at = std::string::npos, "";
  const size_t to = text.find(end, from + start.size());
  at = to;
  return text.substr(from + start.size(), to - from - start.size());
}

/// The cells of a sheet by name: numbers as they stand, texts in quotes.
std::map<std::string, std::string> cells_of(const fs::path& file) {
  const auto files = unzip(read_file(file));
  std::vector<std::string> strings;
  for (size_t at = 0; at != std::string::npos;) {
    const std::string item = between(files.at("xl/sharedStrings.xml"), "<si>", "</si>", at);
    size_t inner = 0;
    if (at != std::string::npos) strings.push_back(between(item.substr(item.find("<t")), ">", "</t>", inner));
  }
  std::map<std::string, std::string> cells;
  for (size_t at = 0; at != std::string::npos;) {
    const std::string cell = between(files.at("xl/worksheets/sheet1.xml"), "<c ", "</c>", at);
    if (at == std::string::npos) break;
    size_t name = 0, value = 0;
    const std::string where = between(cell, "r=\"", "\"", name), text = between(cell, "<v>", "</v>", value);
    cells[where] = cell.find("t=\"s\"") == std::string::npos ? text : "'" + strings.at(std::stoul(text)) + "'";
  }
  return cells;
}

TEST(Submission, VqaV2ListsEveryQuestionOfTheFullList) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.vqav2(false, true);
  const Answers answers = SmallBenchmarks::in_order(benchmark, {"Yes, it is the dog's.", "two"});
  write_submission(benchmark, answers, files / "out/v.json");
  // EvalAI: lower case, no comma, 's apart, articles gone, number words to digits.
  EXPECT_EQ(read_json(files / "out/v.json").dump(),
            R"([{"question_id":4,"answer":""},{"question_id":3,"answer":""},{"question_id":2,"answer":"2"},)"
            R"({"question_id":1,"answer":"yes it is dog 's"}])");
  const std::string first = read_file(files / "out/v.json");
  write_submission(benchmark, answers, files / "out/v.json");
  EXPECT_EQ(read_file(files / "out/v.json"), first);
}

TEST(Submission, VqaV2WithoutAListIsInTheOrderOfTheQuestions) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.vqav2(true, false);
  write_submission(benchmark, SmallBenchmarks::in_order(benchmark, {"no", "a"}), files / "v.json");
  EXPECT_EQ(read_json(files / "v.json").dump(), R"([{"question_id":1,"answer":"no"},{"question_id":2,"answer":""}])");
}

TEST(Submission, GqaDropsDotsAndCase) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.gqa();
  write_submission(benchmark, SmallBenchmarks::in_order(benchmark, {"Red..", ".NO \"x\""}), files / "g.out");
  EXPECT_EQ(read_json(files / "g.out").dump(),
            R"([{"questionId":"201","prediction":"red"},{"questionId":"202","prediction":".no \"x\""}])");
}

TEST(Submission, MmeWritesAFileACategory) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.mme({{"count", 1}, {"OCR", 2}});
  const Answers answers = SmallBenchmarks::in_order(benchmark, {"Yes", "a\tb\nc\r", "No", "", "no", "yes"});
  write_submission(benchmark, answers, files / "mme_out");
  EXPECT_EQ(read_file(files / "mme_out/count.txt"),
            "1.txt\tIs A?  Please answer yes or no.\tYes\tYes\n1.txt\tIs B? Please answer yes or no.\tNo\ta b c \n");
  EXPECT_EQ(read_file(files / "mme_out/OCR.txt"),
            "1.txt\tIs A?  Please answer yes or no.\tYes\tNo\n1.txt\tIs B? Please answer yes or no.\tNo\t\n"
            "2.txt\tIs A?  Please answer yes or no.\tYes\tno\n2.txt\tIs B? Please answer yes or no.\tNo\tyes\n");
}

TEST(Submission, MmbenchIsTheTableOfLlavasConverter) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.mmbench();
  const Answers answers = SmallBenchmarks::in_order(benchmark, {"A", "B.", "<&\n>", "b"});
  write_submission(benchmark, answers, files / "m.xlsx");
  const auto cells = cells_of(files / "m.xlsx");
  std::string head;
  for (char column = 'A'; column <= 'J'; ++column) {
    const auto found = cells.find(std::string(1, column) + "1");
    head += found == cells.end() ? "-" : found->second;
  }
  EXPECT_EQ(head, "'index''question''A''B''C''D''prediction''answer''split'-");
  EXPECT_EQ(cells.at("A5"), "1000001");
  EXPECT_EQ(cells.at("B2"), "'What\tis it?'");
  EXPECT_EQ(cells.at("C2"), "'cat &amp; &lt;dog&gt;'");
  EXPECT_FALSE(cells.contains("E2"));  // an option that is missing
  EXPECT_EQ(cells.at("G2"), "'A'");
  EXPECT_EQ(cells.at("G3"), "'B.'");
  EXPECT_EQ(cells.at("G4"), "'&lt;&amp;\n&gt;'");
  EXPECT_EQ(cells.at("G5"), "'b'");
  EXPECT_EQ(cells.at("H5"), "'B'");
  EXPECT_EQ(cells.at("I5"), "'dev'");
  EXPECT_FALSE(cells.contains("A6"));
  // No time of writing anywhere in the file.
  EXPECT_NE(unzip(read_file(files / "m.xlsx")).at("docProps/core.xml").find("2000-01-01T00:00:00Z"), std::string::npos);
  const std::string first = read_file(files / "m.xlsx");
  write_submission(benchmark, answers, files / "again.xlsx");
  EXPECT_EQ(read_file(files / "again.xlsx"), first);
}

TEST(Submission, RefusesWhatCannotBeSubmitted) {
  SmallBenchmarks files;
  const OpenBenchmark pope = files.pope({{"random", "yn"}});
  EXPECT_USER_ERROR(write_submission(pope, SmallBenchmarks::in_order(pope, {"yes", "no"}), files / "p"),
                    "benchmark pope takes no file; vqav2, gqa, mme and mmbench do");
  const OpenBenchmark gqa = files.gqa();
  EXPECT_USER_ERROR(write_submission(gqa, SmallBenchmarks::in_order(gqa, {"red"}), files / "g.out"),
                    "answers.jsonl: no answer for question 202");
  EXPECT_FALSE(fs::exists(files / "g.out"));  // no half of a file
  const OpenBenchmark mme = files.mme({{"count", 1}});
  EXPECT_USER_ERROR(write_submission(mme, SmallBenchmarks::in_order(mme, {"yes"}), files / "mme_out"),
                    "no answer for question count/1");
  EXPECT_FALSE(fs::exists(files / "mme_out"));
}

TEST(Xlsx, SaysWhichCellIsTooMuch) {
  const TemporaryFolder folder;
  const auto written = [&](const Cell& cell) {
    write_xlsx(folder / "t.xlsx", {{Cell(), Cell(int64_t(-3))}, std::vector<Cell>(28, cell)});
  };
  EXPECT_USER_ERROR(written(std::string(32768, 'x')), "t.xlsx: A2: a cell holds at most 32767 characters, found 32768");
  EXPECT_USER_ERROR(written(std::string("a\0b", 3)), "t.xlsx: A2: a cell cannot hold a zero byte");
  EXPECT_USER_ERROR(written((int64_t(1) << 53) + 1), "t.xlsx: A2: a cell cannot hold the number 9007199254740993");
  EXPECT_TRUE(fs::is_empty(folder.path()));
  std::string wide;
  for (int i = 0; i < 32767; ++i) wide += "\xc3\xa9";  // counted in characters, not bytes
  written(wide);
  EXPECT_EQ(cells_of(folder / "t.xlsx").at("AB2"), "'" + wide + "'");
  written("bad \xff byte");
  EXPECT_EQ(cells_of(folder / "t.xlsx").at("A2"), "'bad \xef\xbf\xbd byte'");
  EXPECT_EQ(cells_of(folder / "t.xlsx").at("B1"), "-3");
}

}  // namespace
}  // namespace yopo
