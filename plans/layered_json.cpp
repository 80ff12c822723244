#include "plans/layered_json.h"

#include <algorithm>

namespace yopo {
namespace {

bool holds_nested(const Json& value) {
  return std::any_of(value.begin(), value.end(), [](const Json& item) { return item.is_structured(); });
}

std::string array_text(const Json& array, const std::string& margin) {
  std::string text = "[";
  for (size_t i = 0; i < array.size(); ++i) text += (i ? ",\n" : "\n") + margin + "  " + array[i].dump();
  return text + "\n" + margin + "]";
}

}  // namespace

std::string layered_text(const Json& object, int indent) {
  const std::string margin(size_t(indent), ' ');
  if (object.empty()) return "{}";
  std::string text = "{";
  bool first = true;
  for (const auto& [key, value] : object.items()) {
    text += (first ? "\n" : ",\n") + margin + "  " + Json(key).dump() + ": ";
    first = false;
    if (value.is_array() && holds_nested(value))
      text += array_text(value, margin + "  ");
    else if (value.is_object() && (holds_nested(value) || value.size() > 2))
      text += layered_text(value, indent + 2);
    else
      text += value.dump();
  }
  return text + "\n" + margin + "}";
}

}  // namespace yopo
