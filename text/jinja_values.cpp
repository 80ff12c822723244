#include "text/jinja_values.h"

#include <algorithm>

#include "core/error.h"
#include "text/unicode.h"

namespace yopo::jinja {

namespace {

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw Refusal{fmt::format(format, std::forward<Args>(args)...)};
}

std::string kind_of(const Value& value) { return value ? value->type_name() : "something undefined"; }

std::string need_text(const Value& value, std::string_view what) {
  if (!value || !value->is_string()) refuse("{}: expected a text, found {}", what, kind_of(value));
  return value->get_ref<const std::string&>();
}

const Json& need_list(const Value& value, std::string_view what) {
  if (!value || !value->is_array()) refuse("{}: expected a list, found {}", what, kind_of(value));
  return *value;
}

Value limited(std::string text) {
  if (text.size() > kLargestText) refuse("a text of more than {} bytes", kLargestText);
  return text;
}

int64_t need_int(const Value& value, std::string_view what) {
  constexpr int64_t kLargest = int64_t(1) << 40;
  if (!value || !value->is_number_integer()) refuse("{}: expected a number, found {}", what, kind_of(value));
  const auto number = value->get<int64_t>();
  if (number > kLargest || number < -kLargest) refuse("{}: {} is too large", what, number);
  return number;
}

/// Upper and lower case of other letters than these would need Python's tables.
std::string cased(const std::string& text, bool upper, std::string_view what) {
  std::string out = text;
  for (char& c : out) {
    if (static_cast<unsigned char>(c) >= 0x80) refuse("{} of a text that is not ASCII is not supported", what);
    if (upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') c = char(c ^ 0x20);
  }
  return out;
}

std::string capitalized(const std::string& text, std::string_view what) {
  std::string out = cased(text, false, what);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z') out[0] = char(out[0] ^ 0x20);
  return out;
}

/// str.strip of the characters in `drop`, or of white space without it.
std::string stripped(std::string_view text, const Value& drop, bool left, bool right, std::string_view what) {
  if (!drop || drop->is_null()) {
    if (left) text = strip_left(text);
    if (right) text = strip_right(text);
    return std::string(text);
  }
  const std::string set = need_text(drop, what);
  for (const char c : set)
    if (static_cast<unsigned char>(c) >= 0x80) refuse("{}: only ASCII characters are supported", what);
  const auto among = [&](char c) { return set.find(c) != std::string::npos; };
  while (left && !text.empty() && among(text.front())) text.remove_prefix(1);
  while (right && !text.empty() && among(text.back())) text.remove_suffix(1);
  return std::string(text);
}

size_t length_of(const Value& value, std::string_view what) {
  if (value && value->is_string()) return decode_utf8(need_text(value, what)).size();
  if (value && (value->is_array() || value->is_object())) return value->size();
  refuse("{}: expected a text or a list, found {}", what, kind_of(value));
}

Value argument(const Arguments& arguments, size_t index, std::string_view name = "") {
  if (index < arguments.values.size()) return arguments.values[index];
  for (const auto& [key, value] : arguments.named)
    if (key == name) return value;
  return std::nullopt;
}

void need_count(const Arguments& arguments, size_t least, size_t most, std::string_view what) {
  const size_t count = arguments.values.size() + arguments.named.size();
  if (count < least || count > most)
    refuse("{}: expected {}{} arguments, found {}", what, least, most > least ? fmt::format(" to {}", most) : "",
           count);
}

/// selectattr and rejectattr: entries whose attribute passes a test.
Value selected(const Value& list, const Arguments& arguments, bool wanted, const std::string& what) {
  need_count(arguments, 1, 3, what);
  Json out = Json::array();
  for (const Json& entry : need_list(list, what)) {
    const std::string path = need_text(argument(arguments, 0), what);
    if (path.find('.') != std::string::npos) refuse("{}: a path of attributes is not supported", what);
    const Value found = item_of(entry, argument(arguments, 0));
    bool passes = is_true(found);
    if (arguments.values.size() > 1) {
      Arguments rest;
      rest.values.assign(arguments.values.begin() + 2, arguments.values.end());
      passes = test(need_text(argument(arguments, 1), what), found, rest);
    }
    if (passes == wanted) out.push_back(entry);
  }
  return out;
}

std::string joined(const Value& list, const Arguments& arguments) {
  need_count(arguments, 0, 1, "join");
  const Value separator = argument(arguments, 0, "d");
  std::string out;
  bool first = true;
  for (const Json& entry : need_list(list, "join")) {
    if (!first) out += text_of(separator);
    out += text_of(entry);
    first = false;
    if (out.size() > kLargestText) refuse("a text of more than {} bytes", kLargestText);
  }
  return out;
}

bool contains(const Value& whole, const Value& part) {
  if (!whole) return false;  // undefined counts as empty
  if (whole->is_string()) return need_text(whole, "in").find(need_text(part, "in")) != std::string::npos;
  if (whole->is_object()) return part && part->is_string() && whole->contains(part->get_ref<const std::string&>());
  if (!whole->is_array()) refuse("in: expected a text, a list or an object, found {}", kind_of(whole));
  return std::any_of(whole->begin(), whole->end(), [&](const Json& entry) { return equal(entry, part); });
}

Value added(const Value& left, const Value& right) {
  if (left && right && left->is_string() && right->is_string())
    return limited(need_text(left, "+") + need_text(right, "+"));
  if (left && right && left->is_array() && right->is_array()) {
    Json both = *left;
    both.insert(both.end(), right->begin(), right->end());
    if (both.size() > kLongestList) refuse("a list of more than {} entries", kLongestList);
    return both;
  }
  if (left && right && left->is_number_integer() && right->is_number_integer())
    return Json(need_int(left, "+") + need_int(right, "+"));
  refuse("'+' of {} and {}", kind_of(left), kind_of(right));
}

}  // namespace

bool is_true(const Value& value) {
  if (!value) return false;
  switch (value->type()) {
    case Json::value_t::null:
      return false;
    case Json::value_t::boolean:
      return value->get<bool>();
    case Json::value_t::string:
      return !value->get_ref<const std::string&>().empty();
    case Json::value_t::array:
    case Json::value_t::object:
      return !value->empty();
    default:
      return value->get<double>() != 0;
  }
}

bool equal(const Value& left, const Value& right) {
  if (!left || !right) return !left && !right;
  if (left->is_boolean() != right->is_boolean() && (left->is_number() || right->is_number()))
    refuse("a comparison of a number with true or false is not supported");
  return *left == *right;
}

std::string text_of(const Value& value) {
  if (!value) return "";
  switch (value->type()) {
    case Json::value_t::null:
      return "None";
    case Json::value_t::boolean:
      return value->get<bool>() ? "True" : "False";
    case Json::value_t::string:
      return value->get<std::string>();
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return std::to_string(value->get<int64_t>());
    default:
      refuse("{} written out as text", kind_of(value));
  }
}

Value item_of(const Value& value, const Value& key) {
  if (!value) refuse("'{}' of something undefined", printable(text_of(key)));
  if (value->is_object() && key && key->is_string()) {
    const auto found = value->find(key->get_ref<const std::string&>());
    return found == value->end() ? Value() : Value(*found);
  }
  if (value->is_array() && key && key->is_number_integer()) {
    const int64_t size = int64_t(value->size());
    int64_t index = need_int(key, "[]");
    if (index < 0) index += size;
    return index >= 0 && index < size ? Value((*value)[size_t(index)]) : Value();
  }
  if (value->is_string() && key && key->is_number_integer()) refuse("one character of a text is not supported");
  return std::nullopt;
}

Value slice_of(const Value& value, const Value& first, const Value& last) {
  const Json& list = need_list(value, "a slice");
  const int64_t size = int64_t(list.size());
  const auto bound = [&](const Value& given, int64_t fallback) {
    if (!given || given->is_null()) return fallback;
    const int64_t index = need_int(given, "a slice");
    return std::clamp(index < 0 ? index + size : index, int64_t(0), size);
  };
  const int64_t from = bound(first, 0), to = bound(last, size);
  Json out = Json::array();
  for (int64_t i = from; i < to; ++i) out.push_back(list[size_t(i)]);
  return out;
}

Value binary(std::string_view op, const Value& left, const Value& right) {
  if (op == "==") return Json(equal(left, right));
  if (op == "!=") return Json(!equal(left, right));
  if (op == "in") return Json(contains(right, left));
  if (op == "not in") return Json(!contains(right, left));
  if (op == "+") return added(left, right);
  if (op == "~") return limited(text_of(left) + text_of(right));
  const int64_t a = need_int(left, op), b = need_int(right, op);
  if (op == "-") return Json(a - b);
  if (op == "<") return Json(a < b);
  if (op == ">") return Json(a > b);
  if (op == "<=") return Json(a <= b);
  if (op == ">=") return Json(a >= b);
  if (op == "%" && a >= 0 && b > 0) return Json(a % b);
  refuse("'{}' of {} and {} is not supported", op, a, b);
}

Value filter(const std::string& name, const Value& value, const Arguments& arguments) {
  if (name == "selectattr" || name == "rejectattr") return selected(value, arguments, name == "selectattr", name);
  if (name == "join") return joined(value, arguments);
  if (name == "default" || name == "d") {
    need_count(arguments, 0, 2, name);
    const bool falsy = is_true(argument(arguments, 1, "boolean"));
    if (value && (!falsy || is_true(value))) return value;
    const Value otherwise = argument(arguments, 0, "default_value");
    return otherwise ? otherwise : Value("");
  }
  if (name == "trim") {
    need_count(arguments, 0, 1, name);
    return stripped(text_of(value), argument(arguments, 0, "chars"), true, true, name);
  }
  if (name == "replace") {
    need_count(arguments, 2, 2, name);
    return method("replace", text_of(value), arguments);
  }
  need_count(arguments, 0, 0, name);
  if (name == "upper" || name == "lower") return cased(text_of(value), name == "upper", name);
  if (name == "capitalize") return capitalized(text_of(value), name);
  if (name == "length" || name == "count") return Json(int64_t(length_of(value, name)));
  if (name == "string" || name == "safe") return text_of(value);
  if (name == "list") return need_list(value, name);
  if (name == "first") return item_of(need_list(value, name), Json(0));
  if (name == "last") return item_of(need_list(value, name), Json(-1));
  refuse("the filter '{}' is not supported", printable(name));
}

bool test(const std::string& name, const Value& value, const Arguments& arguments) {
  if (name == "equalto" || name == "eq" || name == "==" || name == "ne" || name == "!=") {
    need_count(arguments, 1, 1, name);
    return equal(value, argument(arguments, 0)) == (name != "ne" && name != "!=");
  }
  if (name == "in") {
    need_count(arguments, 1, 1, name);
    return contains(argument(arguments, 0), value);
  }
  need_count(arguments, 0, 0, name);
  if (name == "defined") return value.has_value();
  if (name == "undefined") return !value;
  if (name == "none") return value && value->is_null();
  if (name == "string") return value && value->is_string();
  if (name == "mapping") return value && value->is_object();
  if (name == "number") return value && (value->is_number() || value->is_boolean());
  if (name == "boolean") return value && value->is_boolean();
  if (name == "true" || name == "false") return value && value->is_boolean() && value->get<bool>() == (name == "true");
  if (name == "iterable" || name == "sequence") {
    if (!value) return name == "iterable" || name == "sequence";  // undefined counts as empty
    return value->is_string() || value->is_array() || value->is_object();
  }
  refuse("the test '{}' is not supported", printable(name));
}

Value method(const std::string& name, const Value& value, const Arguments& arguments) {
  if (value && value->is_object() && name == "get") {
    need_count(arguments, 1, 2, name);
    const Value found = item_of(value, argument(arguments, 0));
    if (found) return found;
    const Value otherwise = argument(arguments, 1);
    return otherwise ? otherwise : Value(Json());
  }
  if (!value || !value->is_string()) refuse("the method '{}' of {} is not supported", printable(name), kind_of(value));
  const std::string text = need_text(value, name);
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    need_count(arguments, 0, 1, name);
    return stripped(text, argument(arguments, 0), name != "rstrip", name != "lstrip", name);
  }
  if (name == "replace") {
    need_count(arguments, 2, 2, name);
    const std::string from = need_text(argument(arguments, 0), name);
    if (from.empty()) refuse("replace: the text to replace is empty");
    const std::string to = need_text(argument(arguments, 1), name);
    if (text.size() / from.size() * to.size() > kLargestText) refuse("replace: the text may grow too large");
    return replace_all(text, from, to);
  }
  if (name == "startswith" || name == "endswith") {
    need_count(arguments, 1, 1, name);
    const std::string part = need_text(argument(arguments, 0), name);
    return Json(name == "startswith" ? text.starts_with(part) : text.ends_with(part));
  }
  if (name == "split") {
    need_count(arguments, 1, 1, name);
    const std::string separator = need_text(argument(arguments, 0), name);
    if (separator.empty()) refuse("split: the separator is empty");
    Json parts = Json::array();
    size_t from = 0;
    for (size_t at; (at = text.find(separator, from)) != std::string::npos; from = at + separator.size())
      parts.push_back(text.substr(from, at - from));
    parts.push_back(text.substr(from));
    return parts;
  }
  need_count(arguments, 0, 0, name);
  if (name == "upper" || name == "lower") return cased(text, name == "upper", name);
  if (name == "capitalize") return capitalized(text, name);
  refuse("the method '{}' is not supported", printable(name));
}

}  // namespace yopo::jinja
