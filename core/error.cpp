#include "core/error.h"

#include <algorithm>
#include <cctype>
#include <numeric>

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
  return best.empty() ? "" : fmt::format("; did you mean '{}'?", best);
}

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 200;
  std::string out;
  size_t taken = 0;
  for (const char c : text) {
    // A cut must not fall inside a UTF-8 sequence.
    if (taken >= kLongest && (static_cast<unsigned char>(c) & 0xc0) != 0x80) break;
    if (taken >= kLongest + 4) break;
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
    ++taken;
  }
  if (taken < text.size()) out += "...";
  return out;
}

}  // namespace yopo
