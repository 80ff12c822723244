// The parts of a parsed Jinja text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace yopo::jinja {

struct Expression {
  enum class Kind {
    Literal,    // value
    Name,       // name
    List,       // parts
    Object,     // parts: key, value, key, value
    Attribute,  // parts[0].name
    Item,       // parts[0][parts[1]]
    Slice,      // parts[0][parts[1]:parts[2]]; a bound that is not given is null
    Call,       // parts[0](parts[1], ..., named)
    Filter,     // parts[0] | name(parts[1], ..., named)
    Test,       // parts[0] is name(parts[1], ...)
    Not,
    Negative,
    Binary,  // parts[0] name parts[1]
    And,
    Or,
    Conditional,  // parts[0] if parts[1] else parts[2], which may be null
  };
  Kind kind;
  int line = 0;
  std::string name = "";
  Json value = Json();
  std::vector<std::unique_ptr<Expression>> parts = {};
  std::vector<std::pair<std::string, std::unique_ptr<Expression>>> named = {};
};

struct Node {
  enum class Kind {
    Text,      // text
    Output,    // {{ value }}
    If,        // value: body, else otherwise
    For,       // names in value if condition: body, else otherwise
    Set,       // names[0] (with names[1]: its attribute) = value
    SetBlock,  // names[0] = what body writes
    List,      // body
  };
  Kind kind;
  int line = 0;
  std::string text = "";
  std::vector<std::string> names = {};
  std::unique_ptr<Expression> value = nullptr, condition = nullptr;
  std::vector<std::unique_ptr<Node>> body = {}, otherwise = {};
};

/// UserError "WHERE: line N: ...".
std::unique_ptr<Node> parse(std::string_view text, const std::string& where);

}  // namespace yopo::jinja
