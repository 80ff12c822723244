// Values that recipes and command-line flags share: sizes, named choices.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace yopo {

/// "5GB", "512MiB", "1000" -> bytes; UserError naming `where`.
uint64_t parse_size(std::string_view text, const std::string& where);

/// Decimal numbers as recipes and flags write them. False if `text` is no such number or does not fit.
bool parse_decimal(std::string_view text, int64_t& value);
bool parse_decimal(std::string_view text, double& value);

/// A value by its name in files and flags; a table of them is all that reading and writing need.
template <typename Value>
struct NamedValue {
  Value value;
  std::string_view name;
};

template <typename Value, size_t N>
Value parse_choice(const NamedValue<Value> (&choices)[N], std::string_view text, const std::string& where) {
  std::vector<std::string> names;
  for (const auto& choice : choices) {
    if (choice.name == text) return choice.value;
    names.emplace_back(choice.name);
  }
  fail("{}: expected one of {}; found '{}'{}", where, fmt::join(names, ", "), printable(text),
       did_you_mean(text, names));
}

template <typename Value, size_t N>
std::string_view name_in(const NamedValue<Value> (&choices)[N], Value value) {
  for (const auto& choice : choices)
    if (choice.value == value) return choice.name;
  ensure(false, "choice outside its enum");
  return "";
}

}  // namespace yopo
