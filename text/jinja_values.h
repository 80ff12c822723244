// What expressions of a Jinja text come to, and the filters, tests and methods of the subset.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace yopo::jinja {

/// Nothing: undefined, as a variable or key that is not there.
using Value = std::optional<Json>;

constexpr size_t kLargestText = size_t(1) << 22, kLongestList = size_t(1) << 16;

/// Thrown by these functions; the renderer adds file and line.
struct Refusal {
  std::string what;
};

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
};

bool is_true(const Value& value);
bool equal(const Value& left, const Value& right);
/// As `{{ value }}` writes it: text, numbers, True and False, None; nothing for undefined.
std::string text_of(const Value& value);
/// value.name and value[key]: undefined where there is no such entry.
Value item_of(const Value& value, const Value& key);
Value slice_of(const Value& value, const Value& first, const Value& last);
Value binary(std::string_view op, const Value& left, const Value& right);
Value filter(const std::string& name, const Value& value, const Arguments& arguments);
bool test(const std::string& name, const Value& value, const Arguments& arguments);
/// value.name(arguments) of texts and objects.
Value method(const std::string& name, const Value& value, const Arguments& arguments);

}  // namespace yopo::jinja
