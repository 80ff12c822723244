#include "core/json.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"

namespace yopo {

namespace {

constexpr size_t kDeepest = 100;

/// An iterator that tells where the parser has come to, for errors the parser itself does not know (duplicate keys).
class Cursor {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  Cursor operator++(int) {
    Cursor before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }
  bool operator!=(const Cursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

/// Builds the value and refuses what the library lets pass: duplicate keys and bottomless nesting.
class JsonBuilder {
 public:
  JsonBuilder(std::string_view text, std::string_view where, int64_t first_line, const char* const* reached)
      : text_(text), where_(where), first_line_(first_line), reached_(reached) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(Json::number_integer_t value) { return put(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return put(value); }
  bool number_float(Json::number_float_t value, const std::string&) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    Level& level = levels_.back();
    if (!level.keys.insert(name).second) {
      // Between the last event and a key lie only blanks and punctuation, so the next quote opens the key.
      const size_t quote = text_.find('"', event_);
      fail("{}: duplicate key '{}'", place(quote == std::string_view::npos ? event_ : quote), printable(name));
    }
    level.key = std::move(name);
    mark();
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    std::string_view message = error.what();
    for (const std::string_view end : {"] ", ": "}) {
      // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ..."
      const size_t at = message.find(end);
      if (at != std::string_view::npos && (end == "] " ? message.starts_with('[') : message.starts_with("parse error")))
        message.remove_prefix(at + end.size());
    }
    const size_t offset = std::min(position == 0 ? 0 : position - 1, text_.size());
    fail("{}: not valid JSON: {}", place(offset), printable(message));
  }

  /// The library takes a zero byte for the end of the text and would ignore what follows.
  void refuse_zero_bytes() const {
    const size_t zero = text_.find('\0');
    if (zero != std::string_view::npos) fail("{}: not valid JSON: a zero byte", place(zero));
  }

  Json take() { return std::move(root_); }

 private:
  struct Level {
    Json* value;
    std::unordered_set<std::string> keys;
    std::string key;
  };

  template <typename Value>
  Json* add(Value&& value) {
    mark();
    if (levels_.empty()) {
      root_ = std::forward<Value>(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.value->is_array()) {
      auto& array = level.value->get_ref<Json::array_t&>();
      return &array.emplace_back(std::forward<Value>(value));
    }
    // Straight to the underlying vector: the map's own insertion looks for the key first, quadratic over a hostile
    // file.
    auto& object = static_cast<Json::object_t::Container&>(level.value->get_ref<Json::object_t&>());
    return &object.emplace_back(std::move(level.key), Json(std::forward<Value>(value))).second;
  }
  template <typename Value>
  bool put(Value&& value) {
    add(std::forward<Value>(value));
    return true;
  }
  bool open(Json&& value) {
    if (levels_.size() >= kDeepest)
      fail("{}: nested more than {} levels deep", place(size_t(*reached_ - text_.data()) - 1), kDeepest);
    levels_.push_back({add(std::move(value)), {}, {}});
    return true;
  }
  bool close() {
    levels_.pop_back();
    mark();
    return true;
  }
  void mark() { event_ = std::min(size_t(*reached_ - text_.data()), text_.size()); }

  std::string place(size_t offset) const {
    const std::string_view before = text_.substr(0, offset);
    const int64_t line = first_line_ + std::count(before.begin(), before.end(), '\n');
    const size_t start = before.rfind('\n');
    const size_t column = start == std::string_view::npos ? offset + 1 : offset - start;
    return fmt::format("{}:{}:{}", where_, line, column);
  }

  std::string_view text_, where_;
  int64_t first_line_;
  const char* const* reached_;
  size_t event_ = 0;  // offset just after the last thing parsed
  Json root_;
  std::vector<Level> levels_;
};

Json parse(std::string_view text, std::string_view where, int64_t first_line) {
  const char* reached = text.data();
  JsonBuilder builder(text, where, first_line, &reached);
  builder.refuse_zero_bytes();
  const bool done =
      Json::sax_parse(Cursor(text.data(), &reached), Cursor(text.data() + text.size(), &reached), &builder);
  ensure(done, "JSON parser stopped without an error");
  return builder.take();
}

std::string_view kind(const Json& value) {
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return "a boolean";
  if (value.is_array()) return "an array";
  if (value.is_object()) return "an object";
  return "null";
}

/// The value under `key`, null if absent; UserError unless `object` is an object.
const Json* find(const Json& object, std::string_view key, std::string_view where) {
  require(object.is_object(), "{}: expected an object, found {}", where, kind(object));
  const auto it = object.find(std::string(key));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

const Json& need(const Json& object, std::string_view key, std::string_view where) {
  const Json* value = find(object, key, where);
  if (value == nullptr) {
    std::vector<std::string> known;
    for (const auto& [name, unused] : object.items()) known.push_back(name);
    const bool null = object.contains(std::string(key));
    fail("{}: '{}' is {}{}", where, key, null ? "null" : "missing", null ? "" : did_you_mean(key, known));
  }
  return *value;
}

[[noreturn]] void wrong(const Json& value, std::string_view key, std::string_view where, std::string_view expected) {
  fail("{}: '{}' should be {}, found {} {}", where, key, expected, kind(value),
       value.is_structured() ? "" : printable(value.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

int64_t checked_int(const Json& value, std::string_view key, std::string_view where, int64_t low, int64_t high) {
  const std::string expected = fmt::format("an integer in [{}, {}]", low, high);
  if (!value.is_number_integer()) wrong(value, key, where, expected);
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX)) wrong(value, key, where, expected);
  const auto number = value.get<int64_t>();
  if (number < low || number > high) wrong(value, key, where, expected);
  return number;
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) { return parse(text, where, 1); }

Json read_json(const fs::path& path) { return parse(read_text(path), path.string(), 1); }

void write_json(const fs::path& path, const Json& value) { write_text(path, value.dump(2) + "\n"); }

std::vector<JsonLine> read_json_lines(const fs::path& path) {
  const std::string text = read_text(path);
  const std::string where = path.string();
  std::vector<JsonLine> lines;
  std::string_view rest = text;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    lines.push_back({number, parse(line, where, number)});
  }
  return lines;
}

bool has(const Json& object, std::string_view key) {
  if (!object.is_object()) return false;
  const auto it = object.find(std::string(key));
  return it != object.end() && !it->is_null();
}

int64_t get_int(const Json& object, std::string_view key, std::string_view where, int64_t low, int64_t high) {
  return checked_int(need(object, key, where), key, where, low, high);
}

int64_t get_int_or(const Json& object, std::string_view key, std::string_view where, int64_t low, int64_t high,
                   int64_t fallback) {
  const Json* value = find(object, key, where);
  return value == nullptr ? fallback : checked_int(*value, key, where, low, high);
}

double get_number(const Json& object, std::string_view key, std::string_view where) {
  const Json& value = need(object, key, where);
  if (!value.is_number()) wrong(value, key, where, "a number");
  return value.get<double>();
}

double get_number_or(const Json& object, std::string_view key, std::string_view where, double fallback) {
  return find(object, key, where) == nullptr ? fallback : get_number(object, key, where);
}

std::string get_string(const Json& object, std::string_view key, std::string_view where) {
  const Json& value = need(object, key, where);
  if (!value.is_string()) wrong(value, key, where, "a string");
  return value.get<std::string>();
}

std::string get_string_or(const Json& object, std::string_view key, std::string_view where, std::string_view fallback) {
  return find(object, key, where) == nullptr ? std::string(fallback) : get_string(object, key, where);
}

bool get_bool_or(const Json& object, std::string_view key, std::string_view where, bool fallback) {
  const Json* value = find(object, key, where);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) wrong(*value, key, where, "true or false");
  return value->get<bool>();
}

const Json& get_object(const Json& object, std::string_view key, std::string_view where) {
  const Json& value = need(object, key, where);
  if (!value.is_object()) wrong(value, key, where, "an object");
  return value;
}

const Json& get_array(const Json& object, std::string_view key, std::string_view where) {
  const Json& value = need(object, key, where);
  if (!value.is_array()) wrong(value, key, where, "an array");
  return value;
}

}  // namespace yopo
