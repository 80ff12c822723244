#include "core/error.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <numeric>

#include "core/utf8.h"

namespace yopo {

namespace {

// Names from outside may be of any length; comparing needs only those a person could have mistyped.
constexpr size_t kLongestName = 256;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = char(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// Edit distance in which a swap of neighbours counts once (optimal string alignment).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(above.begin(), above.end(), size_t(0));
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

/// Of a well-formed sequence of 1 to 4 bytes.
char32_t code_point(std::string_view sequence) {
  const auto lead = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return lead;
  char32_t point = lead & (0x7fu >> sequence.size());
  for (const char c : sequence.substr(1)) point = point << 6 | (static_cast<unsigned char>(c) & 0x3fu);
  return point;
}

/// What changes more on a terminal than its own place: controls, ends of lines, and marks that turn the direction in
/// which all that follows is shown (Unicode's Bidi_Control), so that a line reads as something else.
bool obeyed(char32_t point) {
  return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x061c || point == 0x200e || point == 0x200f ||
         (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

std::string escaped_but(std::string_view text, std::string_view kept) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const std::string_view sequence = text.substr(0, std::max<size_t>(length, 1));
    const char32_t point = length == 0 ? static_cast<unsigned char>(text[0]) : code_point(sequence);
    if (length > 0 && (!obeyed(point) || kept.find(text[0]) != std::string_view::npos))
      out += sequence;
    else if (length <= 1)
      out += fmt::format("\\x{:02x}", uint32_t(point));
    else
      out += fmt::format("\\u{:04x}", uint32_t(point));
    text.remove_prefix(sequence.size());
  }
  return out;
}

}  // namespace

void ensure(bool ok, std::string_view what) {
  if (!ok) throw InternalError("internal error: " + std::string(what));
}

std::string nearest(std::string_view name, const std::vector<std::string>& known) {
  if (name.empty() || name.size() > kLongestName) return "";
  const std::string wanted = lower(name);
  std::string best;
  size_t best_distance = 0;
  for (const std::string& candidate : known) {
    if (candidate.empty() || candidate.size() > kLongestName) continue;
    const size_t longer = std::max(name.size(), candidate.size());
    const size_t shorter = std::min(name.size(), candidate.size());
    const size_t allowed = longer / 3;
    if (longer - shorter > allowed) continue;
    const size_t distance = edit_distance(wanted, lower(candidate));
    if (distance > allowed || (!best.empty() && distance >= best_distance)) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& known) {
  const std::string best = nearest(name, known);
  return best.empty() ? "" : fmt::format("; did you mean '{}'?", printable(best));
}

std::string escaped(std::string_view text) { return escaped_but(text, ""); }

std::string escaped_lines(std::string_view text) { return escaped_but(text, "\n\t"); }

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 200;
  size_t end = std::min(text.size(), kLongest);
  // A cut must not fall inside a UTF-8 sequence.
  while (end < text.size() && end < kLongest + 3 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
  return escaped(text.substr(0, end)) + (end < text.size() ? "..." : "");
}

}  // namespace yopo
