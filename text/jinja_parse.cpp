#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "text/jinja_lexer.h"
#include "text/jinja_syntax.h"

namespace yopo::jinja {

namespace {

using ExpressionKind = Expression::Kind;
using Owned = std::unique_ptr<Expression>;

constexpr int kDeepest = 64;  // brackets and blocks within one another; a tag's length bounds the rest

class Parser {
 public:
  Parser(const std::vector<Piece>& pieces, const std::string& where) : pieces_(pieces), where_(where) {}

  std::unique_ptr<Node> all() {
    auto list = std::make_unique<Node>(Node{Node::Kind::List, 1});
    std::string end;
    list->body = block({}, end);
    return list;
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}: line {}: {}", where_, line(), fmt::format(format, std::forward<Args>(args)...));
  }
  int line() const { return pieces_.empty() ? 1 : pieces_[std::min(piece_, pieces_.size() - 1)].line; }

  // Tokens of the tag that is being read.

  const Token& token() const {
    static const Token end;
    const std::vector<Token>& tokens = pieces_[piece_].tokens;
    return at_ < tokens.size() ? tokens[at_] : end;
  }
  bool is(std::string_view text) const { return token().kind != Token::Kind::String && token().text == text; }
  bool take(std::string_view text) {
    if (!is(text)) return false;
    ++at_;
    return true;
  }
  void need(std::string_view text) {
    if (!take(text)) refuse("expected '{}', found '{}'", text, printable(token().text));
  }
  std::string need_name() {
    if (token().kind != Token::Kind::Name) refuse("expected a name, found '{}'", printable(token().text));
    return pieces_[piece_].tokens[at_++].text;
  }
  void end_tag() {
    if (token().kind != Token::Kind::End) refuse("'{}' was not expected", printable(token().text));
    ++piece_;
    at_ = 0;
  }

  struct Depth {
    explicit Depth(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kDeepest) parser_.refuse("nested deeper than {}", kDeepest);
    }
    ~Depth() { --parser_.depth_; }
    Parser& parser_;
  };

  // Statements.

  /// Nodes up to a block tag whose first word is one of `ends`, which is left to the caller as `end`.
  std::vector<std::unique_ptr<Node>> block(const std::vector<std::string_view>& ends, std::string& end) {
    const Depth depth(*this);
    std::vector<std::unique_ptr<Node>> nodes;
    while (piece_ < pieces_.size()) {
      const Piece& piece = pieces_[piece_];
      at_ = 0;
      if (piece.kind == Piece::Kind::Text) {
        nodes.push_back(std::make_unique<Node>(Node{Node::Kind::Text, piece.line, piece.text}));
        ++piece_;
      } else if (piece.kind == Piece::Kind::Output) {
        auto node = std::make_unique<Node>(Node{Node::Kind::Output, piece.line});
        node->value = expression();
        nodes.push_back(std::move(node));
        end_tag();
      } else {
        const std::string word = need_name();
        for (const std::string_view one : ends)
          if (word == one) {
            end = word;
            return nodes;
          }
        statement(word, nodes);
      }
    }
    if (!ends.empty()) refuse("'{}' is missing", ends.back());
    return nodes;
  }

  void statement(const std::string& word, std::vector<std::unique_ptr<Node>>& nodes) {
    if (word == "if") {
      nodes.push_back(condition());
    } else if (word == "for") {
      nodes.push_back(loop());
    } else if (word == "set") {
      nodes.push_back(assignment());
    } else if (word == "generation") {
      // It marks the assistant's words and writes nothing.
      end_tag();
      std::string end;
      for (auto& node : block({"endgeneration"}, end)) nodes.push_back(std::move(node));
      end_tag();
    } else {
      refuse("the statement '{}' is not supported; supported are if, for, set and generation", printable(word));
    }
  }

  std::unique_ptr<Node> condition() {
    auto node = std::make_unique<Node>(Node{Node::Kind::If, line()});
    node->value = expression();
    end_tag();
    std::string end;
    node->body = block({"elif", "else", "endif"}, end);
    if (end == "elif") {
      const Depth depth(*this);
      node->otherwise.push_back(condition());
      return node;  // the inner one has read endif
    }
    end_tag();
    if (end == "else") {
      node->otherwise = block({"endif"}, end);
      end_tag();
    }
    return node;
  }

  std::unique_ptr<Node> loop() {
    auto node = std::make_unique<Node>(Node{Node::Kind::For, line()});
    do node->names.push_back(need_name());
    while (take(","));
    need("in");
    node->value = disjunction();
    if (take("if")) node->condition = expression();
    end_tag();
    std::string end;
    node->body = block({"else", "endfor"}, end);
    end_tag();
    if (end == "else") {
      node->otherwise = block({"endfor"}, end);
      end_tag();
    }
    return node;
  }

  std::unique_ptr<Node> assignment() {
    auto node = std::make_unique<Node>(Node{Node::Kind::Set, line()});
    node->names.push_back(need_name());
    if (take(".")) node->names.push_back(need_name());
    if (take("=")) {
      node->value = expression();
      end_tag();
      return node;
    }
    node->kind = Node::Kind::SetBlock;
    end_tag();
    std::string end;
    node->body = block({"endset"}, end);
    end_tag();
    return node;
  }

  // Expressions, from what binds least.

  Owned make(ExpressionKind kind, std::string name = "") const {
    return std::make_unique<Expression>(Expression{kind, line(), std::move(name)});
  }
  Owned join(ExpressionKind kind, Owned left, Owned right, std::string name = "") {
    Owned both = make(kind, std::move(name));
    both->parts.push_back(std::move(left));
    both->parts.push_back(std::move(right));
    return both;
  }

  Owned expression() {
    const Depth depth(*this);
    Owned value = disjunction();
    while (take("if")) {
      Owned whole = join(ExpressionKind::Conditional, std::move(value), disjunction());
      whole->parts.push_back(take("else") ? expression() : nullptr);
      value = std::move(whole);
    }
    return value;
  }
  Owned disjunction() {
    Owned value = conjunction();
    while (take("or")) value = join(ExpressionKind::Or, std::move(value), conjunction());
    return value;
  }
  Owned conjunction() {
    Owned value = negation();
    while (take("and")) value = join(ExpressionKind::And, std::move(value), negation());
    return value;
  }
  Owned negation() {
    if (!take("not")) return comparison();
    const Depth depth(*this);
    Owned value = make(ExpressionKind::Not);
    value->parts.push_back(negation());
    return value;
  }
  Owned comparison() {
    Owned value = sum();
    for (const std::string_view op : {"==", "!=", "<=", ">=", "<", ">", "in"})
      if (take(op)) return one_comparison(std::move(value), std::string(op));
    if (is("not") && at_ + 1 < pieces_[piece_].tokens.size() && pieces_[piece_].tokens[at_ + 1].text == "in") {
      at_ += 2;
      return one_comparison(std::move(value), "not in");
    }
    return value;
  }
  Owned one_comparison(Owned left, std::string op) {
    Owned both = join(ExpressionKind::Binary, std::move(left), sum(), std::move(op));
    for (const std::string_view more : {"==", "!=", "<=", ">=", "<", ">", "in"})
      if (is(more)) refuse("a chain of comparisons is not supported");
    return both;
  }
  Owned sum() {
    Owned value = concatenation();
    while (is("+") || is("-")) {
      std::string op = pieces_[piece_].tokens[at_++].text;
      value = join(ExpressionKind::Binary, std::move(value), concatenation(), std::move(op));
    }
    return value;
  }
  Owned concatenation() {
    Owned value = product();
    while (take("~")) value = join(ExpressionKind::Binary, std::move(value), product(), "~");
    return value;
  }
  Owned product() {
    Owned value = unary(true);
    while (is("*") || is("/") || is("//") || is("%")) {
      std::string op = pieces_[piece_].tokens[at_++].text;
      value = join(ExpressionKind::Binary, std::move(value), unary(true), std::move(op));
    }
    return value;
  }
  Owned unary(bool filters) {
    const Depth depth(*this);
    Owned value;
    if (take("-")) {
      value = make(ExpressionKind::Negative);
      value->parts.push_back(unary(false));
    } else {
      value = postfix(primary());
    }
    return filters ? filtered(std::move(value)) : std::move(value);
  }

  Owned primary() {
    const Token found = token();
    if (found.kind == Token::Kind::End) refuse("an expression ends too early");
    ++at_;
    if (found.kind == Token::Kind::String) {
      Owned value = make(ExpressionKind::Literal);
      std::string text = found.text;
      while (token().kind == Token::Kind::String) text += pieces_[piece_].tokens[at_++].text;
      value->value = std::move(text);
      return value;
    }
    if (found.kind == Token::Kind::Number) {
      int64_t number = 0;
      const char* last = found.text.data() + found.text.size();
      const auto [end, code] = std::from_chars(found.text.data(), last, number);
      if (code != std::errc() || end != last) refuse("the number {} is not supported", printable(found.text));
      Owned value = make(ExpressionKind::Literal);
      value->value = number;
      return value;
    }
    if (found.kind == Token::Kind::Name) return named_value(found.text);
    if (found.text == "(") {
      Owned value = expression();
      if (is(",")) refuse("tuples are not supported");
      need(")");
      return value;
    }
    if (found.text == "[") return elements(make(ExpressionKind::List), "]", false);
    if (found.text == "{") return elements(make(ExpressionKind::Object), "}", true);
    refuse("'{}' was not expected", printable(found.text));
  }
  Owned named_value(const std::string& name) {
    Owned value = make(ExpressionKind::Literal);
    if (name == "true" || name == "True") {
      value->value = true;
    } else if (name == "false" || name == "False") {
      value->value = false;
    } else if (name != "none" && name != "None") {
      for (const std::string_view word : {"if", "else", "in", "is", "and", "or", "not"})
        if (name == word) refuse("'{}' was not expected", name);
      value->kind = ExpressionKind::Name;
      value->name = name;
    }
    return value;
  }
  Owned elements(Owned list, std::string_view close, bool pairs) {
    while (!take(close)) {
      list->parts.push_back(expression());
      if (pairs) {
        need(":");
        list->parts.push_back(expression());
      }
      if (!take(",") && !is(close)) refuse("expected '{}', found '{}'", close, printable(token().text));
    }
    return list;
  }

  Owned postfix(Owned value) {
    while (true) {
      if (take(".")) {
        Owned outer = make(ExpressionKind::Attribute, need_name());
        outer->parts.push_back(std::move(value));
        value = std::move(outer);
      } else if (take("[")) {
        value = subscript(std::move(value));
      } else if (take("(")) {
        Owned call = make(ExpressionKind::Call);
        call->parts.push_back(std::move(value));
        arguments(*call);
        value = std::move(call);
      } else {
        return value;
      }
    }
  }
  Owned subscript(Owned value) {
    Owned first = is(":") ? nullptr : expression();
    if (!take(":")) {
      need("]");
      return join(ExpressionKind::Item, std::move(value), std::move(first));
    }
    Owned slice = join(ExpressionKind::Slice, std::move(value), std::move(first));
    slice->parts.push_back(is("]") ? nullptr : expression());
    need("]");
    return slice;
  }
  /// Behind "(": positional ones into `parts`, others into `named`.
  void arguments(Expression& call) {
    while (!take(")")) {
      const std::vector<Token>& tokens = pieces_[piece_].tokens;
      const bool named = token().kind == Token::Kind::Name && at_ + 1 < tokens.size() &&
                         tokens[at_ + 1].kind == Token::Kind::Symbol && tokens[at_ + 1].text == "=";
      if (named) {
        const std::string name = need_name();
        need("=");
        call.named.emplace_back(name, expression());
      } else {
        call.parts.push_back(expression());
      }
      if (!take(",") && !is(")")) refuse("expected ')', found '{}'", printable(token().text));
    }
  }
  Owned filtered(Owned value) {
    while (true) {
      if (take("|")) {
        Owned filter = make(ExpressionKind::Filter, need_name());
        filter->parts.push_back(std::move(value));
        if (take("(")) arguments(*filter);
        value = std::move(filter);
      } else if (take("is")) {
        const bool negated = take("not");
        Owned test = make(ExpressionKind::Test, need_name());
        test->parts.push_back(std::move(value));
        if (take("(")) arguments(*test);
        value = std::move(test);
        if (negated) {
          Owned opposite = make(ExpressionKind::Not);
          opposite->parts.push_back(std::move(value));
          value = std::move(opposite);
        }
      } else if (is("(")) {
        refuse("a call of what a filter gives is not supported");
      } else {
        return value;
      }
    }
  }

  const std::vector<Piece>& pieces_;
  const std::string& where_;
  size_t piece_ = 0, at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::unique_ptr<Node> parse(std::string_view text, const std::string& where) {
  const std::vector<Piece> pieces = pieces_of(text, where);
  return Parser(pieces, where).all();
}

}  // namespace yopo::jinja
