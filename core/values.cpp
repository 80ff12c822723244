#include "core/values.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace yopo {

bool parse_decimal(std::string_view text, int64_t& value) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return false;
  }
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size();
}

bool parse_decimal(std::string_view text, double& value) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return false;
  }
  // Digits, sign, point and exponent only: the standard also reads "inf" and "nan".
  if (text.find_first_not_of("0123456789.eE+-") != std::string_view::npos) return false;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

uint64_t parse_size(std::string_view text, const std::string& where) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"", 1},      {"b", 1},        {"kb", 1e3},     {"mb", 1e6},     {"gb", 1e9},
                             {"tb", 1e12}, {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}, {"tib", 0x1p40}};
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  std::string unit(text.substr(digits));
  unit.erase(0, unit.find_first_not_of(' ') == std::string::npos ? 0 : unit.find_first_not_of(' '));
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  double number = 0;
  const auto found = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.name == unit; });
  require(parse_decimal(text.substr(0, digits), number) && found != std::end(kUnits),
          "{}: expected a size such as 5GB, 512MiB or 1000 (bytes); found '{}'", where, printable(text));
  const double bytes = std::floor(number * found->bytes);
  // 2^53: every whole number of bytes up to there is exact.
  require(bytes >= 1 && bytes <= 0x1p53, "{}: a size should lie between 1 byte and 8 PiB; found '{}'", where,
          printable(text));
  return uint64_t(bytes);
}

}  // namespace yopo
