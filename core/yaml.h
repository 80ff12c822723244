// Strict YAML for recipes: a small tree that remembers where everything stood. No aliases, anchors, tags, merge keys,
// duplicate keys or second documents: none is needed in a recipe, and each is a way to hide or to multiply content.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace yopo {

struct YamlEntry;

struct YamlNode {
  enum class Kind { Null, Scalar, List, Map };
  Kind kind = Kind::Null;
  bool quoted = false;             // a quoted scalar is always a string
  std::string text;                // Scalar
  std::vector<YamlNode> items;     // List
  std::vector<YamlEntry> entries;  // Map, in file order
  std::string place;               // "demo.yaml:7:3", or "--set plan.ffn=1" for what an override brought

  /// The value under `key`; null if this is no map, the key is absent or its value is null.
  const YamlNode* find(std::string_view key) const;
};

struct YamlEntry {
  std::string key, place;
  YamlNode value;
};

/// Parses one document; empty text is a Null node. UserError "where:line:column: ..." for syntax errors, everything
/// listed above, control characters, text that is not UTF-8, and nesting past 32 levels.
YamlNode parse_yaml(std::string_view text, const std::string& where);

/// Applies "a.b=c": c is parsed as YAML and put under the path, whose missing maps are made; a number in the path is
/// the index of a list (its length appends). UserError "--set a.b=c: ..." for a path that does not parse or does not
/// fit.
void override_yaml(YamlNode& root, const std::string& assignment);

/// UserError at the key's place for the first key of `map` (section `name`; "" is the root) that is not in `known`,
/// with the nearest known one; UserError at the node's place if it is no map.
void check_keys(const YamlNode& map, std::string_view name, const std::vector<std::string>& known);

/// Typed scalars; `name` is the key, for messages. UserError at the node's place for another kind or a value out of
/// range. Numbers are decimal; NaN, infinity and integers past 64 bits are refused.
std::string yaml_string(const YamlNode& node, std::string_view name);
int64_t yaml_int(const YamlNode& node, std::string_view name, int64_t low, int64_t high);
double yaml_number(const YamlNode& node, std::string_view name, double low, double high);
bool yaml_bool(const YamlNode& node, std::string_view name);

/// What a node is, for messages: "a list", "'3.5'".
std::string yaml_kind(const YamlNode& node);

}  // namespace yopo
