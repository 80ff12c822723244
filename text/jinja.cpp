#include "text/jinja.h"

#include "core/error.h"
#include "text/jinja_syntax.h"
#include "text/jinja_values.h"

namespace yopo {

namespace jinja {

namespace {

// A chat template takes some hundreds of steps and writes a few hundred bytes.
constexpr int64_t kMostSteps = 1'000'000;

/// An undefined value that is assigned is kept apart from one that is not there.
using Scope = std::vector<std::pair<std::string, Value>>;

class Renderer {
 public:
  Renderer(const Json& variables, const std::string& where) : where_(where) {
    scopes_.emplace_back();
    for (const auto& [name, value] : variables.items()) scopes_.back().emplace_back(name, value);
  }

  void write(const std::vector<std::unique_ptr<Node>>& nodes, std::string& out) {
    for (const auto& node : nodes) write(*node, out);
  }

  void write(const Node& node, std::string& out) {
    line_ = node.line;
    step();
    switch (node.kind) {
      case Node::Kind::Text:
        out += node.text;
        break;
      case Node::Kind::Output:
        out += text_of(evaluate(*node.value));
        break;
      case Node::Kind::If:
        write(is_true(evaluate(*node.value)) ? node.body : node.otherwise, out);
        break;
      case Node::Kind::For:
        loop(node, out);
        break;
      case Node::Kind::Set:
        assign(node.names, evaluate(*node.value));
        break;
      case Node::Kind::SetBlock: {
        std::string text;
        write(node.body, text);
        assign(node.names, Json(text));
        break;
      }
      case Node::Kind::List:
        write(node.body, out);
        break;
    }
    if (out.size() > kLargestText) throw Refusal{"it writes too much"};
  }

  int line() const { return line_; }

 private:
  void step() {
    if (++steps_ > kMostSteps) throw Refusal{"it takes too many steps"};
  }

  Value look_up(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
      for (const auto& [known, value] : *scope)
        if (known == name) return value;
    return std::nullopt;
  }

  static void put(Scope& scope, const std::string& name, Value value) {
    for (auto& [known, old] : scope)
      if (known == name) {
        old = std::move(value);
        return;
      }
    scope.emplace_back(name, std::move(value));
  }

  /// What a loop's body sets is gone after each turn; the attributes of a namespace stay.
  void assign(const std::vector<std::string>& names, Value value) {
    if (names.size() == 1) return put(scopes_.back(), names[0], std::move(value));
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
      for (auto& [known, space] : *scope)
        if (known == names[0]) {
          if (!space || !space->is_object() || !space->contains(kNamespace))
            throw Refusal{fmt::format("'{}' is no namespace", printable(names[0]))};
          if (!value) throw Refusal{"an undefined value set in a namespace is not supported"};
          (*space)[names[1]] = *std::move(value);
          return;
        }
    throw Refusal{fmt::format("'{}' is no namespace", printable(names[0]))};
  }

  void loop(const Node& node, std::string& out) {
    Value list = evaluate(*node.value);
    if (!list) list = Json::array();
    if (!list->is_array()) throw Refusal{fmt::format("for: expected a list, found {}", list->type_name())};
    const auto bind = [&](const Json& entry) {
      if (node.names.size() == 1) return put(scopes_.back(), node.names[0], entry);
      if (!entry.is_array() || entry.size() != node.names.size())
        throw Refusal{fmt::format("for: expected {} values, found {}", node.names.size(), entry.type_name())};
      for (size_t i = 0; i < node.names.size(); ++i) put(scopes_.back(), node.names[i], entry[i]);
    };
    Json chosen = Json::array();
    for (const Json& entry : *list) {
      step();
      scopes_.emplace_back();
      bind(entry);
      if (!node.condition || is_true(evaluate(*node.condition))) chosen.push_back(entry);
      scopes_.pop_back();
    }
    if (chosen.empty()) return write(node.otherwise, out);
    const int64_t count = int64_t(chosen.size());
    for (int64_t i = 0; i < count; ++i) {
      step();
      scopes_.emplace_back();
      put(scopes_.back(), "loop",
          Json{{"index", i + 1},
               {"index0", i},
               {"revindex", count - i},
               {"revindex0", count - i - 1},
               {"first", i == 0},
               {"last", i == count - 1},
               {"length", count}});
      Value& here = scopes_.back().back().second;
      if (i > 0) (*here)["previtem"] = chosen[size_t(i - 1)];
      if (i + 1 < count) (*here)["nextitem"] = chosen[size_t(i + 1)];
      bind(chosen[size_t(i)]);
      write(node.body, out);
      scopes_.pop_back();
    }
  }

  Value evaluate(const Expression& expression) {
    step();
    const auto part = [&](size_t index) { return evaluate(*expression.parts[index]); };
    switch (expression.kind) {
      case Expression::Kind::Literal:
        return expression.value;
      case Expression::Kind::Name:
        return look_up(expression.name);
      case Expression::Kind::List: {
        Json list = Json::array();
        for (size_t i = 0; i < expression.parts.size(); ++i) list.push_back(need(part(i)));
        return list;
      }
      case Expression::Kind::Object: {
        Json object = Json::object();
        for (size_t i = 0; i + 1 < expression.parts.size(); i += 2) object[text_of(part(i))] = need(part(i + 1));
        return object;
      }
      case Expression::Kind::Attribute:
        return item_of(part(0), Json(expression.name));
      case Expression::Kind::Item:
        return item_of(part(0), part(1));
      case Expression::Kind::Slice:
        return slice_of(part(0), optional(expression.parts[1]), optional(expression.parts[2]));
      case Expression::Kind::Call:
        return call(expression);
      case Expression::Kind::Filter:
        return filter(expression.name, part(0), arguments_of(expression));
      case Expression::Kind::Test:
        return Json(test(expression.name, part(0), arguments_of(expression)));
      case Expression::Kind::Not:
        return Json(!is_true(part(0)));
      case Expression::Kind::Negative:
        return binary("-", Json(0), part(0));
      case Expression::Kind::Binary:
        return binary(expression.name, part(0), part(1));
      case Expression::Kind::And: {
        Value left = part(0);
        return is_true(left) ? part(1) : left;
      }
      case Expression::Kind::Or: {
        Value left = part(0);
        return is_true(left) ? left : part(1);
      }
      case Expression::Kind::Conditional:
        if (is_true(part(1))) return part(0);
        return optional(expression.parts[2]);
    }
    return std::nullopt;
  }

  Value optional(const std::unique_ptr<Expression>& expression) { return expression ? evaluate(*expression) : Value(); }

  static Json need(Value value) {
    if (!value) throw Refusal{"an undefined value in a list is not supported"};
    return *std::move(value);
  }

  Arguments arguments_of(const Expression& expression) {
    Arguments arguments;
    for (size_t i = 1; i < expression.parts.size(); ++i) arguments.values.push_back(evaluate(*expression.parts[i]));
    for (const auto& [name, value] : expression.named) arguments.named.emplace_back(name, evaluate(*value));
    return arguments;
  }

  Value call(const Expression& expression) {
    const Expression& callee = *expression.parts[0];
    const Arguments arguments = arguments_of(expression);
    if (callee.kind == Expression::Kind::Attribute) return method(callee.name, evaluate(*callee.parts[0]), arguments);
    const std::string name = callee.kind == Expression::Kind::Name ? callee.name : "";
    if (name == "raise_exception")
      throw Refusal{fmt::format("the template refuses the conversation: {}",
                                printable(arguments.values.empty() ? "" : text_of(arguments.values[0])))};
    if (name == "namespace" && arguments.values.empty()) {
      Json space = Json::object();
      space[kNamespace] = true;
      for (const auto& [key, value] : arguments.named) space[key] = need(value);
      return space;
    }
    throw Refusal{fmt::format("the function '{}' is not supported", printable(name))};
  }

  static constexpr const char* kNamespace = " namespace";  // no name in a template has a blank

  const std::string& where_;
  std::vector<Scope> scopes_;
  int line_ = 1;
  int64_t steps_ = 0;
};

}  // namespace

}  // namespace jinja

Jinja::Jinja(std::string_view text, std::string where) : where_(std::move(where)), body_(jinja::parse(text, where_)) {}
Jinja::~Jinja() = default;
Jinja::Jinja(Jinja&&) noexcept = default;
Jinja& Jinja::operator=(Jinja&&) noexcept = default;

std::string Jinja::render(const Json& variables) const {
  jinja::Renderer renderer(variables, where_);
  std::string text;
  try {
    renderer.write(*body_, text);
  } catch (const jinja::Refusal& refusal) {
    fail("{}: line {}: {}", where_, renderer.line(), refusal.what);
  }
  return text;
}

}  // namespace yopo
