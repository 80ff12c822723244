#include "text/split_pattern.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary.h"
#include "text/pre_tokenizer.h"

namespace yopo {
namespace {

constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<std::string> cut(const std::string& pattern, const std::string& text) {
  std::vector<std::string_view> parts;
  SplitPattern(pattern, "here").split(text, parts);
  return {parts.begin(), parts.end()};
}
using Parts = std::vector<std::string>;

TEST(SplitPattern, CutsAsQwen2Does) {
  EXPECT_EQ(cut(kQwen2, "I'm he'LL  isn't 42 !?\n\n x  "),
            (Parts{"I", "'m", " he", "'LL", " ", " isn", "'t", " ", "4", "2", " !?\n\n", " x", "  "}));
  EXPECT_EQ(cut(kQwen2, "été\r\n 中文"), (Parts{"été", "\r\n", " 中文"}));
  EXPECT_EQ(cut(kQwen2, "'ſa K"), (Parts{"'ſ", "a", " K"}));  // a long s is an s here
  EXPECT_EQ(cut(kQwen2, ""), Parts{});
  std::string joined;
  for (const std::string& part : cut(kQwen2, std::string("a\0b", 3))) joined += part;
  EXPECT_EQ(joined, std::string("a\0b", 3));
}

TEST(SplitPattern, KnowsTheReferencesUnicode) {
  EXPECT_EQ(cut(R"(\p{L}+)", "a\xE1\xB2\x89 b"), (Parts{"a\xE1\xB2\x89", " ", "b"}));  // U+1C89, a letter since 16.0
  EXPECT_EQ(cut(R"(\s+)", "a\xE1\xA0\x8E b"), (Parts{"a\xE1\xA0\x8E", " ", "b"}));     // U+180E, no white space
  EXPECT_EQ(cut(R"(\S+)",
                "a\xC2\x85"
                "b"),
            (Parts{"a", "\xC2\x85", "b"}));  // U+0085 is
  EXPECT_EQ(cut(R"(\P{N}+)", "ab1\xC2\xB2"), (Parts{"ab", "1\xC2\xB2"}));
  EXPECT_EQ(cut(R"(\p{^N}+)", "ab12"), (Parts{"ab", "12"}));
  EXPECT_EQ(cut(R"([^\P{L}a]+)", "abca1"), (Parts{"a", "bc", "a1"}));
  EXPECT_EQ(cut(R"(\p{M})", "e\xCC\x81x"), (Parts{"e", "\xCC\x81", "x"}));
}

TEST(SplitPattern, TakesTheRestOfItsLanguage) {
  EXPECT_EQ(cut("[a-c]{2,3}", "abcabx"), (Parts{"abc", "ab", "x"}));
  EXPECT_EQ(cut("(?<=a)b|c(?=d)", "abbcdc"), (Parts{"a", "b", "b", "c", "dc"}));
  EXPECT_EQ(cut(R"([\[\]\\\-]+)", "a[-]\\b"), (Parts{"a", "[-]\\", "b"}));
  EXPECT_EQ(cut("a*?b", "aab"), (Parts{"aab"}));
  // Empty matches cut, but not right behind a match.
  EXPECT_EQ(cut("x*", "axxb"), (Parts{"a", "xx", "b"}));
  EXPECT_EQ(cut("(?=b)", "abab"), (Parts{"a", "ba", "b"}));
}

TEST(SplitPattern, RefusesWhatTwoLibrariesMightReadDifferently) {
  for (const char* pattern : {".",          "^a",          "a$",      R"(\w+)",  R"(\d)",   R"(\b)",   R"(\p{Lu})",
                              R"(\p{Han})", R"(\pL)",      R"(\x41)", R"(\1)",   "(?i)a",   "(?x: a)", "(?<name>a)",
                              "(*UCP)a",    "[[:alpha:]]", "[a&&b]",  "[]a]",    "[a-\\s]", "[-a]",    "[a-]",
                              "a{2}+",      "a{2}?",       "a{,2}",   "a{x}",    "a}",      "a]",      R"((?i:\p{L}))",
                              "(?i:é)",     "é",           "[a-é]",   "(?i:ss)", "(?i:Fi)", R"(\)"})
    EXPECT_USER_ERROR(cut(pattern, "a"), "not supported at character");
  for (const char* pattern : {"(a", "a)", "*a", "(?i:'s", "[b-a]"})
    EXPECT_USER_ERROR(cut(pattern, "a"), "here: the pattern");
  EXPECT_USER_ERROR(cut("[a", "a"), "a class without end");
  EXPECT_USER_ERROR(cut("", "a"), "1 to 4096 bytes");
  EXPECT_USER_ERROR(cut(std::string(5000, 'a'), "a"), "1 to 4096 bytes");
  EXPECT_USER_ERROR(cut(std::string(300, '(') + std::string(300, ')'), "a"), "does not compile");
}

TEST(SplitPattern, StopsAtItsLimits) {
  EXPECT_USER_ERROR(cut("(?:a+)+[bc]", std::string(60, 'a')), "cannot be matched on a text of 60 bytes");
  // Each place within the limit of one, and 3,000 of them.
  EXPECT_USER_ERROR(cut("a*a*a*[bc]", std::string(3000, 'a')), "cannot be matched on a text of 3000 bytes");
  EXPECT_EQ(cut("a*a*[bc]", std::string(1000, 'a') + "b").size(), 1u);
  EXPECT_EQ(cut("a*a*[bc]", std::string(1000, 'a') + "x").size(), 1u);
  // A long text of one kind is no such case.
  EXPECT_EQ(cut(kQwen2, std::string(1 << 20, ' ') + "a").size(), 2u);
  EXPECT_EQ(cut(kQwen2, std::string(1 << 20, 'a')).size(), 1u);
}

TEST(PreTokenizer, WritesBytesAsCharacters) {
  std::string every;
  for (int b = 0; b < 256; ++b) every += char(b);
  EXPECT_EQ(characters_to_bytes(bytes_to_characters(every)), every);
  EXPECT_EQ(bytes_to_characters("a \n\xC2\xAD"), "aĠĊÂŃ");
  EXPECT_EQ(characters_to_bytes("Ġ中"), "Ġ中");  // not of the alphabet
  EXPECT_EQ(characters_to_bytes("Ġń"), "Ġń");    // U+0144, one past its end
}

TEST(PreTokenizer, CutsByItsOwnPattern) {
  const auto steps = read_pre_tokenizer(Json::parse(R"({"type": "ByteLevel", "add_prefix_space": true})"), "here");
  EXPECT_EQ(pre_tokenize(steps, "It's 12", true), (Parts{"ĠIt", "'s", "Ġ12"}));
  EXPECT_EQ(pre_tokenize(steps, " x", true), (Parts{"Ġx"}));
  EXPECT_EQ(pre_tokenize(steps, "IT'S", true), (Parts{"ĠIT", "'", "S"}));  // case counts here
}

}  // namespace
}  // namespace yopo
