#include "text/unicode.h"

#include <gtest/gtest.h>

namespace yopo {
namespace {

TEST(Utf8, ReplacesIllFormedPartsAsPythonDoes) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(repair_utf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z"), "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z");
  EXPECT_EQ(repair_utf8("\xFFz"), r + "z");
  EXPECT_EQ(repair_utf8("\xC0\xAF"), r + r);                  // overlong
  EXPECT_EQ(repair_utf8("\xE0\x80\x80"), r + r + r);          // overlong
  EXPECT_EQ(repair_utf8("\xED\xA0\x80"), r + r + r);          // surrogate
  EXPECT_EQ(repair_utf8("\xF4\x90\x80\x80"), r + r + r + r);  // past U+10FFFF
  EXPECT_EQ(repair_utf8("\xF0\x9F\x98"), r);                  // cut short: one part
  EXPECT_EQ(repair_utf8("\xE2\x82"
                        "a"),
            r + "a");
  EXPECT_EQ(repair_utf8("\x80\x80"), r + r);
  EXPECT_TRUE(valid_utf8(r));
  EXPECT_FALSE(valid_utf8("\xE2\x82"));
  EXPECT_FALSE(valid_utf8("\xF5\x80\x80\x80"));
}

TEST(Utf8, SurvivesTheRoundTrip) {
  std::u32string all;
  for (char32_t c = 0; c <= 0x10FFFF; ++c)
    if (c < 0xD800 || c >= 0xE000) all += c;
  EXPECT_EQ(decode_utf8(encode_utf8(all)), all);
  EXPECT_EQ(encode_utf8(std::u32string{char32_t(0xD800), char32_t(0x110000)}), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Lower, FollowsPython) {
  EXPECT_EQ(lower("ABC xyz 09"), "abc xyz 09");
  EXPECT_EQ(lower("ÄÖÜ É Ñ"), "äöü é ñ");
  EXPECT_EQ(lower("ΗΛΙΟΣ ΣΑΣ Σ"), "ηλιος σας σ");              // final sigma only behind a letter
  EXPECT_EQ(lower("ΑΣ. ΑΣ'Α ΑΣ\u0301"), "ας. ασ'α ας\u0301");  // an apostrophe and an accent are looked through
  EXPECT_EQ(lower("İ"), "i\u0307");
  EXPECT_EQ(lower("ẞ Ω ǅ Ǆ"), "ß ω ǆ ǆ");
  EXPECT_EQ(lower("Ⴀ Ა \U00010400"), "ⴀ ა \U00010428");
  // Capitals of two alphabets lie between each other's.
  EXPECT_EQ(lower("ĀāĂ ŸŹź"), "āāă ÿźź");
  // A checksum of the lower case of every code point, from Python 3.11.
  uint64_t sum = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::u32string text(1, c);
    for (char32_t low : lower(text)) sum = (sum * 1'000'003 + low) % 2'147'483'647;
  }
  EXPECT_EQ(sum, 408589431u);
}

TEST(Properties, FollowPythonAndRust) {
  int python = 0, white = 0, digits = 0, words = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    python += is_python_space(c);
    white += is_white_space(c);
    digits += is_decimal_digit(c);
    words += is_word_character(c);
  }
  EXPECT_EQ(python, 29);
  EXPECT_EQ(white, 25);
  EXPECT_EQ(digits, 660);
  EXPECT_EQ(words, 144667);
  for (char32_t c : U"aZ_09é中\u0301\u200d\u0660") EXPECT_EQ(is_word_character(c), c != 0) << uint32_t(c);
  for (char32_t c : U" -'.\n\u00a0\u20ac") EXPECT_FALSE(is_word_character(c)) << uint32_t(c);
  EXPECT_TRUE(is_decimal_digit(0x0665));
  EXPECT_FALSE(is_decimal_digit(0x00B2));
}

TEST(Nfc, ComposesAsTheReferenceDoes) {
  EXPECT_EQ(nfc("plain, e\u0301"), "plain, é");
  EXPECT_EQ(nfc("\u212b \u2126 \u0958"), "Å Ω \u0915\u093c");  // singletons, and one that is not taken back
  EXPECT_EQ(nfc("o\u0302\u0323"), "ộ");                        // marks are put in order first
  EXPECT_EQ(nfc("\u1112\u1161\u11ab\u1100"), "한\u1100");
  EXPECT_EQ(nfc("\u0301e"), "\u0301e");
  // A checksum over every code point behind a letter and before two marks, from tokenizers 0.22.2.
  uint64_t sum = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string text = encode_utf8(std::u32string{U'o', c, 0x302, 0x323});
    for (char32_t d : decode_utf8(nfc(text))) sum = (sum * 1'000'003 + d) % 2'147'483'647;
  }
  EXPECT_EQ(sum, 1865059613u);
}

TEST(Strip, CutsUnicodeSpaces) {
  EXPECT_EQ(strip(" \t\u00a0\u3000a b\u2003\x1c\n"), "a b");
  EXPECT_EQ(strip_left("\u3000 a "), "a ");
  EXPECT_EQ(strip_right(" a\u3000 "), " a");
  EXPECT_EQ(strip("\u3000"), "");
  EXPECT_EQ(strip("\x80 "), "\x80");
  EXPECT_EQ(strip_right("\xE3\x80"), "\xE3\x80");
  EXPECT_EQ(strip("é"), "é");
}

TEST(SplitWords, LeavesNothingEmpty) {
  const std::u32string text = U" a\u00a0b\x1d\x85 c ";
  std::vector<std::u32string> words;
  for (auto word : split_words(text)) words.emplace_back(word);
  EXPECT_EQ(words, (std::vector<std::u32string>{U"a", U"b", U"c"}));
  EXPECT_TRUE(split_words(U" \n").empty());
}

TEST(ReplaceAll, GoesFromLeftToRight) {
  EXPECT_EQ(replace_all("aaa", "aa", "b"), "ba");
  EXPECT_EQ(replace_all("abab", "ab", "ab!"), "ab!ab!");
  EXPECT_EQ(replace_all("", "a", "b"), "");
}

}  // namespace
}  // namespace yopo
