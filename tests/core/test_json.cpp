#include "core/json.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::TemporaryFolder;
using testing::write_file;

TEST(Json, ParsesAndKeepsOrder) {
  const Json value = parse_json(R"({"b": [1, -2, 2.5, true, null, "x\u00e9"], "a": {"c": {}}, "z": []})", "w");
  EXPECT_EQ(value.dump(), R"({"b":[1,-2,2.5,true,null,"xé"],"a":{"c":{}},"z":[]})");
  EXPECT_EQ(parse_json(" 3 ", "w"), Json(3));
  EXPECT_EQ(parse_json("\xef\xbb\xbf{}", "w"), Json::object()) << "a byte order mark is allowed";
}

TEST(Json, SyntaxErrorsNameThePlace) {
  EXPECT_USER_ERROR(parse_json("{\"a\": 1,\n  \"b\" 2}", "f.json"), "f.json:2:7: not valid JSON: syntax error");
  EXPECT_USER_ERROR(parse_json("", "f.json"), "f.json:1:1: not valid JSON");
  EXPECT_USER_ERROR(parse_json("[1, 2", "f.json"), "f.json:1:6");
  EXPECT_USER_ERROR(parse_json("{} x", "f.json"), "f.json:1:4");
  EXPECT_USER_ERROR(parse_json("[NaN]", "f.json"), "f.json:1:2");
  EXPECT_USER_ERROR(parse_json("\"\xff\"", "f.json"), "UTF-8");
  EXPECT_USER_ERROR(parse_json("[1e999]", "f.json"), "not valid JSON");
  EXPECT_USER_ERROR(parse_json(std::string_view("[1]\0", 4), "f.json"), "f.json:1:4");
}

TEST(Json, DuplicateKeysNameThePlace) {
  EXPECT_USER_ERROR(parse_json("{\"a\": 1,\n \"b\": 2, \"a\": 3}", "f.json"), "f.json:2:10: duplicate key 'a'");
  EXPECT_USER_ERROR(parse_json(R"({"a": {"b": 1, "\u0062": 2}})", "f.json"), "f.json:1:16: duplicate key 'b'");
  EXPECT_NO_THROW(parse_json(R"([{"a": 1}, {"a": {"a": 2}}])", "f.json"));
}

TEST(Json, NestingIsBounded) {
  const auto nested = [](size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); };
  EXPECT_NO_THROW(parse_json(nested(100), "w"));
  EXPECT_USER_ERROR(parse_json(nested(101), "w"), "w:1:101: nested more than 100 levels");
  EXPECT_THROW(parse_json(std::string(8'000'000, '['), "w"), UserError);
}

TEST(Json, ManyKeysAreFast) {
  // Quadratic handling of keys would take minutes here.
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += (i ? ",\"" : "\"") + std::to_string(i) + "\":" + std::to_string(i);
  EXPECT_EQ(parse_json(text + "}", "w").size(), 300'000u);
}

TEST(Json, FilesRoundTrip) {
  const TemporaryFolder folder;
  const Json value = parse_json(R"({"b": [1, 2], "a": "x"})", "w");
  write_json(folder / "a.json", value);
  EXPECT_EQ(testing::read_file(folder / "a.json"), "{\n  \"b\": [\n    1,\n    2\n  ],\n  \"a\": \"x\"\n}\n");
  EXPECT_EQ(read_json(folder / "a.json"), value);
  write_file(folder / "bad.json", "{");
  EXPECT_USER_ERROR(read_json(folder / "bad.json"), (folder / "bad.json").string() + ":1:2");
}

TEST(Json, Lines) {
  const TemporaryFolder folder;
  write_file(folder / "a.jsonl", "{\"a\": 1}\r\n\n  \n[2]\n3");
  const auto lines = read_json_lines(folder / "a.jsonl");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].line, 1);
  EXPECT_EQ(lines[1].line, 4);
  EXPECT_EQ(lines[2].line, 5);
  EXPECT_EQ(lines[1].value[0], 2);
  write_file(folder / "b.jsonl", "{}\n{}\n{\"a\": tru}\n");
  EXPECT_USER_ERROR(read_json_lines(folder / "b.jsonl"), "b.jsonl:3:");
  write_file(folder / "c.jsonl", "\n{\"a\": 1, \"a\": 1}\n");
  EXPECT_USER_ERROR(read_json_lines(folder / "c.jsonl"), "c.jsonl:2:10: duplicate");
}

TEST(Json, TypedAccess) {
  const Json o = parse_json(R"({"i": 5, "f": 2.5, "s": "t", "b": true, "n": null, "o": {}, "a": [],
                               "big": 18446744073709551615, "negative": -1})",
                            "w");
  EXPECT_EQ(get_int(o, "i", "w", 0, 9), 5);
  EXPECT_EQ(get_int(o, "negative", "w", -1, 9), -1);
  EXPECT_EQ(get_int_or(o, "none", "w", 0, 9, 7), 7);
  EXPECT_EQ(get_int_or(o, "n", "w", 0, 9, 7), 7);
  EXPECT_EQ(get_number(o, "i", "w"), 5);
  EXPECT_EQ(get_number_or(o, "f", "w", 1), 2.5);
  EXPECT_EQ(get_number_or(o, "x", "w", 1), 1);
  EXPECT_EQ(get_string(o, "s", "w"), "t");
  EXPECT_EQ(get_string_or(o, "x", "w", "y"), "y");
  EXPECT_TRUE(get_bool_or(o, "b", "w", false));
  EXPECT_TRUE(get_bool_or(o, "x", "w", true));
  EXPECT_TRUE(get_object(o, "o", "w").is_object());
  EXPECT_TRUE(get_array(o, "a", "w").is_array());
  EXPECT_TRUE(has(o, "i"));
  EXPECT_FALSE(has(o, "n"));
  EXPECT_FALSE(has(o, "x"));
  EXPECT_FALSE(has(Json(3), "x"));
}

TEST(Json, TypedAccessNamesTheMistake) {
  const Json o = parse_json(R"({"hidden_size": 5, "f": 2.5, "s": "t", "n": null, "big": 18446744073709551615})", "w");
  EXPECT_USER_ERROR(get_int(o, "hiden_size", "config.json", 0, 9),
                    "config.json: 'hiden_size' is missing; did you mean 'hidden_size'?");
  EXPECT_USER_ERROR(get_int(o, "n", "config.json", 0, 9), "config.json: 'n' is null");
  EXPECT_USER_ERROR(get_int(o, "hidden_size", "config.json", 6, 9),
                    "'hidden_size' should be an integer in [6, 9], found an integer 5");
  EXPECT_USER_ERROR(get_int(o, "f", "c", 0, 9), "found a number 2.5");
  EXPECT_USER_ERROR(get_int(o, "big", "c", INT64_MIN, INT64_MAX), "found an integer 18446744073709551615");
  EXPECT_USER_ERROR(get_int_or(o, "s", "c", 0, 9, 1), "found a string \"t\"");
  EXPECT_USER_ERROR(get_number(o, "s", "c"), "should be a number");
  EXPECT_USER_ERROR(get_string(o, "f", "c"), "should be a string");
  EXPECT_USER_ERROR(get_bool_or(o, "f", "c", true), "should be true or false");
  EXPECT_USER_ERROR(get_object(o, "f", "c"), "should be an object");
  EXPECT_USER_ERROR(get_array(o, "f", "c"), "should be an array");
  EXPECT_USER_ERROR(get_int(Json::array(), "x", "c", 0, 1), "c: expected an object, found an array");
}

}  // namespace
}  // namespace yopo
