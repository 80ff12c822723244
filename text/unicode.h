// UTF-8 and the few Unicode rules that answers and prompts are read by, the same on every machine and in every locale.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace yopo {

/// One code point and the bytes it takes at the front of `text` (not empty). Ill-formed bytes give U+FFFD, one for each
/// maximal ill-formed part, as Python's errors="replace" does.
struct CodePoint {
  char32_t value;
  size_t bytes;
};
CodePoint first_code_point(std::string_view text);

std::u32string decode_utf8(std::string_view text);
/// Surrogates and values past U+10FFFF become U+FFFD.
void append_utf8(std::string& text, char32_t code_point);
std::string encode_utf8(std::u32string_view text);
/// Whether every byte belongs to a well-formed code point (no surrogates, no overlong forms).
bool valid_utf8(std::string_view text);
/// The text with ill-formed parts replaced by U+FFFD.
std::string repair_utf8(std::string_view text);

/// str.isspace of Python for one character: what str.strip and str.split cut at. Includes U+001C to U+001F.
bool is_python_space(char32_t c);
/// The White_Space property (\s of Rust's regular expressions): is_python_space without U+001C to U+001F.
bool is_white_space(char32_t c);
/// \w of Rust's regular expressions: letters, marks, decimal digits, connectors, joiners.
bool is_word_character(char32_t c);
/// General category L: str.isalpha of Python for one character.
bool is_letter(char32_t c);
/// \d of Python and Rust: general category Nd.
bool is_decimal_digit(char32_t c);

/// str.lower of Python, full mapping: final sigma by its neighbours, U+0130 to two code points.
std::u32string lower(std::u32string_view text);
std::string lower(std::string_view text);

/// Normalization Form C (UAX #15) as the NFC normalizer of tokenizers 0.22 makes it, with the data of Unicode 9.0.
std::string nfc(std::string_view text);

/// str.strip / lstrip / rstrip of Python.
std::string_view strip(std::string_view text);
std::u32string_view strip(std::u32string_view text);
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
/// str.split() of Python: the parts between runs of white space, none of them empty.
std::vector<std::u32string_view> split_words(std::u32string_view text);

/// Replaces every occurrence of `from` (not empty), left to right without overlap.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace yopo
