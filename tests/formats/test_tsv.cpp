#include "formats/tsv.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "formats/base64.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;
using testing::write_file;

std::vector<std::vector<std::string>> table(const std::string& text) {
  const TemporaryFolder folder;
  write_file(folder / "t.tsv", text);
  const Tsv tsv = read_tsv(folder / "t.tsv");
  std::vector<std::vector<std::string>> rows{tsv.columns};
  for (const TsvRow& row : tsv.rows) {
    rows.emplace_back();
    for (const TsvField& field : row.fields) rows.back().emplace_back(tsv.text(field));
  }
  return rows;
}

using Rows = std::vector<std::vector<std::string>>;

TEST(Tsv, SplitsAsPandas) {
  EXPECT_EQ(table("a\tb\n1\t2\n"), (Rows{{"a", "b"}, {"1", "2"}}));
  EXPECT_EQ(table("\xEF\xBB\xBF"
                  "a\tb\r\n1\t2\r\n3\t"),
            (Rows{{"a", "b"}, {"1", "2"}, {"3", ""}}));
  EXPECT_EQ(table("a\tb\r1\t2\r"), (Rows{{"a", "b"}, {"1", "2"}}));
  EXPECT_EQ(table("\n  \na\tb\n\n1\t 2 \n   \n"), (Rows{{"a", "b"}, {"1", " 2 "}}));  // blank lines go, spaces stay
  EXPECT_EQ(table(" x\ta\n"), (Rows{{" x", "a"}}));
  EXPECT_EQ(table("a\tb\n\"1\t\n2\"\t\"say \"\"hi\"\"\"\n"), (Rows{{"a", "b"}, {"1\t\n2", "say \"hi\""}}));
  EXPECT_EQ(table("a\tb\n\"1\"2\"3\"\tx\"y\"\n"), (Rows{{"a", "b"}, {"12\"3\"", "x\"y\""}}));
  EXPECT_EQ(table("a\tb\n\"\"\t\"\"\"\"\n"), (Rows{{"a", "b"}, {"", "\""}}));
  EXPECT_EQ(table("a\tb\n\"x\r\ny\"\tz"), (Rows{{"a", "b"}, {"x\r\ny", "z"}}));
}

TEST(Tsv, RefersToTheFileWhereItCan) {
  const TemporaryFolder folder;
  write_file(folder / "t.tsv", "a\tb\nplain\t\"quoted\"\n\"with \"\"\"\tx\n");
  const Tsv tsv = read_tsv(folder / "t.tsv");
  EXPECT_EQ(tsv.rows[0].fields[0].offset, 4u);
  EXPECT_EQ(tsv.rows[0].fields[0].size, 5u);
  EXPECT_FALSE(tsv.rows[0].fields[1].own);
  EXPECT_EQ(tsv.rows[0].fields[1].offset, 11u);
  EXPECT_EQ(tsv.rows[0].fields[1].size, 6u);
  EXPECT_TRUE(tsv.rows[1].fields[0].own);
  EXPECT_EQ(tsv.at("b"), 1u);
  EXPECT_EQ(tsv.find("c"), std::nullopt);
  EXPECT_USER_ERROR(tsv.at("c"), "t.tsv:1: no column 'c' among a, b");
}

TEST(Tsv, CountsLinesOverQuotedNewlines) {
  const TemporaryFolder folder;
  write_file(folder / "t.tsv", "a\tb\n\"1\n\n2\"\tx\n\n3\ty\n4\n");
  EXPECT_USER_ERROR(read_tsv(folder / "t.tsv"),
                    "t.tsv:7: expected 2 fields as in the header, found 1: is the file cut");
  write_file(folder / "t.tsv", "a\tb\n\"1\n\n2\"\tx\n\n3\ty\n");
  EXPECT_EQ(read_tsv(folder / "t.tsv").rows[1].line, 6);
}

TEST(Tsv, RefusesDamage) {
  EXPECT_USER_ERROR(table(""), "found nothing");
  EXPECT_USER_ERROR(table(" \n\n"), "found nothing");
  EXPECT_USER_ERROR(table("a\ta\n"), "t.tsv:1: column 'a' is there twice");
  EXPECT_USER_ERROR(table("a\tb\n1\t2\n1\t2\t3\n"), "t.tsv:3: expected 2 fields as in the header, found 3");
  EXPECT_USER_ERROR(table("a\tb\n1\t2\n1\t\"open\nstill\n"), "t.tsv:3: a quoted field is still open");
}

TEST(Tsv, KnowsPandasMissingValues) {
  for (const char* text : {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
                           "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"})
    EXPECT_TRUE(is_pandas_missing(text)) << text;
  for (const char* text : {" ", "NAN", "none", "Null", "na", "N/a", " nan", "0", "None."})
    EXPECT_FALSE(is_pandas_missing(text)) << text;
}

std::string decoded(const std::string& text) {
  std::string out;
  for (const std::byte byte : decode_base64(text, "here")) out += char(byte);
  return out;
}

TEST(Base64, Decodes) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                                                       {"Zg==", "f"},
                                                                                       {"Zm8=", "fo"},
                                                                                       {"Zm9v", "foo"},
                                                                                       {"Zm9vYg==", "foob"},
                                                                                       {"Zm9v\r\nYmFy\n", "foobar"},
                                                                                       {"+/+/", "\xFB\xFF\xBF"},
                                                                                       {"AAAA", std::string(3, '\0')}})
    EXPECT_EQ(decoded(text), expected) << text;
}

TEST(Base64, RefusesWhatIsNone) {
  EXPECT_USER_ERROR(decoded("Zm9*"), "here: not base64: '*' at byte 3");
  for (const char* text :
       {"Z", "Zm", "Zm9", "Zm9vY", "Zg=", "=", "Zg===", "Z===", "Zm8==", "Zg==Zg==", "Zg=v", "Zm9v="}) {
    EXPECT_USER_ERROR(decoded(text), "not base64");
    EXPECT_USER_ERROR(check_base64(text, "here"), "not base64");
  }
}

}  // namespace
}  // namespace yopo
