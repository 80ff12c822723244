// JSON with errors that name the file and the place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/file.h"

namespace yopo {

using Json = nlohmann::ordered_json;

/// Parses `text`; UserError naming `where` with line and column on a syntax error, on duplicate keys and past 100
/// levels of nesting.
Json parse_json(std::string_view text, std::string_view where);
Json read_json(const fs::path& path);
/// Writes `value` with two spaces of indentation and a final newline, atomically.
void write_json(const fs::path& path, const Json& value);
/// JSON lines; blank lines are skipped. `where` of each record is "file:line".
struct JsonLine {
  int64_t line;  // 1-based
  Json value;
};
std::vector<JsonLine> read_json_lines(const fs::path& path);

/// Typed access to an object of a file from outside. `where` names file and place in messages ("config.json:
/// text_config"). Each throws UserError for an absent key (where required) and for a wrong type or a number outside
/// [low, high].
bool has(const Json& object, std::string_view key);  // present and not null
int64_t get_int(const Json& object, std::string_view key, std::string_view where, int64_t low, int64_t high);
int64_t get_int_or(const Json& object, std::string_view key, std::string_view where, int64_t low, int64_t high,
                   int64_t fallback);
double get_number(const Json& object, std::string_view key, std::string_view where);
double get_number_or(const Json& object, std::string_view key, std::string_view where, double fallback);
std::string get_string(const Json& object, std::string_view key, std::string_view where);
std::string get_string_or(const Json& object, std::string_view key, std::string_view where, std::string_view fallback);
bool get_bool_or(const Json& object, std::string_view key, std::string_view where, bool fallback);
const Json& get_object(const Json& object, std::string_view key, std::string_view where);
const Json& get_array(const Json& object, std::string_view key, std::string_view where);

}  // namespace yopo
