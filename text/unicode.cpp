#include "text/unicode.h"

#include <algorithm>

#include "core/error.h"
#include "text/unicode_tables.h"

namespace yopo {

namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr char32_t kCapitalSigma = 0x3A3, kSmallSigma = 0x3C3, kFinalSigma = 0x3C2;
constexpr char32_t kCapitalDottedI = 0x130, kCombiningDot = 0x307;

bool in_ranges(std::span<const unicode::Range> table, char32_t c) {
  const auto it = std::upper_bound(table.begin(), table.end(), c,
                                   [](char32_t value, const unicode::Range& range) { return value < range.first; });
  return it != table.begin() && c <= std::prev(it)->last;
}

char32_t lower_one(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  // Runs with step 2 interleave (capitals of two alphabets), so the last run that starts before `c` need not hold it.
  auto it = std::upper_bound(unicode::lower_runs.begin(), unicode::lower_runs.end(), c,
                             [](char32_t value, const unicode::LowerRun& run) { return value < run.first; });
  for (int back = 0; back < 4 && it != unicode::lower_runs.begin(); ++back) {
    --it;
    if (c <= it->last && int64_t(c - it->first) % it->step == 0) return char32_t(int64_t(c) + it->delta);
  }
  return c;
}

/// Whether the sigma at `at` ends a word (Unicode, table 3-17, Final_Sigma): a cased letter before it and none after
/// it, case-ignorable characters skipped.
bool is_final_sigma(std::u32string_view text, size_t at) {
  size_t before = at;
  while (before > 0 && in_ranges(unicode::case_ignorable, text[before - 1])) --before;
  if (before == 0 || !in_ranges(unicode::cased, text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && in_ranges(unicode::case_ignorable, text[after])) ++after;
  return after == text.size() || !in_ranges(unicode::cased, text[after]);
}

}  // namespace

CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t(0); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  // The second byte's range excludes overlong forms, surrogates and what lies past U+10FFFF (Unicode, table 3-7).
  size_t length = 0;
  uint8_t low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {kReplacement, 1};
  }
  char32_t value = lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    const uint8_t next = byte(i);
    if (i >= text.size() || next < low || next > high) return {kReplacement, i};
    value = value << 6 | (next & 0x3F);
    low = 0x80, high = 0xBF;
  }
  return {value, length};
}

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    out += point.value;
    text.remove_prefix(point.bytes);
  }
  return out;
}

void append_utf8(std::string& text, char32_t c) {
  if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) c = kReplacement;
  if (c < 0x80) {
    text += char(c);
  } else if (c < 0x800) {
    text += {char(0xC0 | c >> 6), char(0x80 | (c & 0x3F))};
  } else if (c < 0x10000) {
    text += {char(0xE0 | c >> 12), char(0x80 | (c >> 6 & 0x3F)), char(0x80 | (c & 0x3F))};
  } else {
    text +=
        {char(0xF0 | c >> 18), char(0x80 | (c >> 12 & 0x3F)), char(0x80 | (c >> 6 & 0x3F)), char(0x80 | (c & 0x3F))};
  }
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char32_t c : text) append_utf8(out, c);
  return out;
}

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    // A genuine U+FFFD takes three bytes, EF BF BD.
    if (point.value == kReplacement && (point.bytes != 3 || !text.starts_with("\xEF\xBF\xBD"))) return false;
    text.remove_prefix(point.bytes);
  }
  return true;
}

std::string repair_utf8(std::string_view text) {
  return valid_utf8(text) ? std::string(text) : encode_utf8(decode_utf8(text));
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}
bool is_python_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }
bool is_word_character(char32_t c) { return in_ranges(unicode::word_characters, c); }
bool is_letter(char32_t c) { return in_ranges(unicode::letters, c); }
bool is_decimal_digit(char32_t c) { return c < 0x80 ? c >= '0' && c <= '9' : in_ranges(unicode::decimal_digits, c); }

std::u32string lower(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == kCapitalSigma) {
      out += is_final_sigma(text, i) ? kFinalSigma : kSmallSigma;
    } else if (text[i] == kCapitalDottedI) {
      out += {U'i', kCombiningDot};
    } else {
      out += lower_one(text[i]);
    }
  }
  return out;
}
std::string lower(std::string_view text) { return encode_utf8(lower(decode_utf8(text))); }

std::string_view strip_left(std::string_view text) {
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    if (!is_python_space(point.value)) break;
    text.remove_prefix(point.bytes);
  }
  return text;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (uint8_t(text[start]) & 0xC0) == 0x80) --start;
    const CodePoint point = first_code_point(text.substr(start));
    if (start + point.bytes != text.size() || !is_python_space(point.value)) break;
    text = text.substr(0, start);
  }
  return text;
}

std::string_view strip(std::string_view text) { return strip_right(strip_left(text)); }

std::u32string_view strip(std::u32string_view text) {
  while (!text.empty() && is_python_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_python_space(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::u32string_view> split_words(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && !is_python_space(text[end])) ++end;
    if (end > i) words.push_back(text.substr(i, end - i));
    i = end + 1;
  }
  return words;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  ensure(!from.empty(), "replace_all: nothing to look for");
  std::string out;
  size_t at = 0;
  for (size_t hit = text.find(from); hit != std::string_view::npos; hit = text.find(from, at)) {
    out.append(text, at, hit - at).append(to);
    at = hit + from.size();
  }
  return out.append(text, at, std::string_view::npos);
}

}  // namespace yopo
