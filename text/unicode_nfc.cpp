#include <algorithm>
#include <tuple>

#include "text/unicode.h"
#include "text/unicode_tables.h"

namespace yopo {

namespace {

// Hangul syllables compose by arithmetic (Unicode, section 3.12).
constexpr char32_t kSyllable = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7;
constexpr char32_t kLeads = 19, kVowels = 21, kTails = 28, kSyllables = kLeads * kVowels * kTails;

void append_decomposed(std::u32string& out, char32_t c) {
  if (c - kSyllable < kSyllables) {
    const char32_t index = c - kSyllable;
    out += char32_t(kLead + index / (kVowels * kTails));
    out += char32_t(kVowel + index % (kVowels * kTails) / kTails);
    if (index % kTails != 0) out += char32_t(kTail + index % kTails);
    return;
  }
  const auto& table = unicode::decompositions;
  const auto it = std::lower_bound(table.begin(), table.end(), c,
                                   [](const unicode::Decomposition& row, char32_t value) { return row.from < value; });
  if (it == table.end() || it->from != c) {
    out += c;
    return;
  }
  append_decomposed(out, it->first);
  if (it->second != 0) append_decomposed(out, it->second);
}

uint8_t combining_class(char32_t c) {
  if (c < 0x300) return 0;
  const auto& table = unicode::combining_classes;
  const auto it = std::upper_bound(table.begin(), table.end(), c,
                                   [](char32_t value, const unicode::CombiningRun& run) { return value < run.first; });
  return it != table.begin() && c <= std::prev(it)->last ? std::prev(it)->value : uint8_t(0);
}

/// What two code points compose to, or 0.
char32_t compose(char32_t first, char32_t second) {
  if (first - kLead < kLeads && second - kVowel < kVowels)
    return kSyllable + ((first - kLead) * kVowels + (second - kVowel)) * kTails;
  if (first - kSyllable < kSyllables && (first - kSyllable) % kTails == 0 && second > kTail && second < kTail + kTails)
    return first + (second - kTail);
  const auto& table = unicode::compositions;
  const auto before = [](const unicode::Composition& row, const std::pair<char32_t, char32_t>& pair) {
    return std::pair(row.first, row.second) < pair;
  };
  const auto it = std::lower_bound(table.begin(), table.end(), std::pair(first, second), before);
  return it != table.end() && it->first == first && it->second == second ? it->to : 0;
}

}  // namespace

std::string nfc(std::string_view text) {
  // Nothing below U+0300 combines with what stands before it.
  if (std::all_of(text.begin(), text.end(), [](char c) { return uint8_t(c) < 0xCC; })) return std::string(text);
  std::u32string points;
  for (const char32_t c : decode_utf8(text)) append_decomposed(points, c);

  std::vector<uint8_t> classes(points.size());
  std::transform(points.begin(), points.end(), classes.begin(), combining_class);
  for (size_t i = 0; i < points.size();) {
    size_t end = i;
    while (end < points.size() && classes[end] != 0) ++end;
    if (end - i > 1) {
      std::vector<std::pair<uint8_t, char32_t>> run;
      for (size_t k = i; k < end; ++k) run.emplace_back(classes[k], points[k]);
      std::stable_sort(run.begin(), run.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      for (size_t k = i; k < end; ++k) std::tie(classes[k], points[k]) = run[k - i];
    }
    i = end + 1;
  }

  // Each code point joins the last starter unless one of its own class, or a starter, stands between.
  std::u32string out;
  size_t starter = std::u32string::npos;
  uint8_t last = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const bool blocked = starter != out.size() - 1 && last >= classes[i];
    if (starter != std::u32string::npos && !blocked) {
      if (const char32_t joined = compose(out[starter], points[i]); joined != 0) {
        out[starter] = joined;
        continue;
      }
    }
    if (classes[i] == 0) starter = out.size();
    last = classes[i];
    out += points[i];
  }
  return encode_utf8(out);
}

}  // namespace yopo
