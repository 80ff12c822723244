#include "text/jinja_lexer.h"

#include <cctype>

#include "core/error.h"
#include "text/unicode.h"

namespace yopo::jinja {

namespace {

constexpr size_t kLongestTag = 1000;  // tokens: it bounds how deep an expression can nest

class Lexer {
 public:
  Lexer(std::string_view text, const std::string& where) : where_(where) {
    // The reference reads every kind of line end as \n, and drops one at the end of the text.
    text_ = replace_all(replace_all(text, "\r\n", "\n"), "\r", "\n");
    if (text_.ends_with('\n')) text_.pop_back();
  }

  std::vector<Piece> all() {
    bool line_start = true;  // whether what was read last ends with a line end
    while (at_ < text_.size()) {
      const size_t open = next_tag();
      std::string_view plain = std::string_view(text_).substr(at_, open - at_);
      if (open == text_.size()) {
        add_text(plain);
        break;
      }
      const char kind = text_[open + 1];
      const char sign = open + 2 < text_.size() ? text_[open + 2] : ' ';
      if (sign == '-') {
        add_text(strip_right(plain));
      } else if (kind != '{' && sign != '+') {
        add_text(without_indent(plain, line_start));
      } else {
        add_text(plain);
      }
      count_lines(plain);
      at_ = open + 2 + (sign == '-' || (sign == '+' && kind != '{') ? 1 : 0);
      line_start = kind == '#' ? skip_comment() : read_tag(kind);
    }
    return std::move(pieces_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("{}: line {}: {}", where_, line_, fmt::format(format, std::forward<Args>(args)...));
  }

  size_t next_tag() const {
    for (size_t open = text_.find('{', at_); open != std::string::npos; open = text_.find('{', open + 1))
      if (open + 1 < text_.size() && std::string_view("{%#").find(text_[open + 1]) != std::string_view::npos)
        return open;
    return text_.size();
  }

  void add_text(std::string_view text) {
    if (text.empty()) return;
    pieces_.push_back({Piece::Kind::Text, line_, std::string(text)});
  }

  void count_lines(std::string_view text) {
    for (const char c : text) line_ += c == '\n';
  }

  /// lstrip_blocks: white space between the start of a line and a block or comment goes.
  static std::string_view without_indent(std::string_view plain, bool line_start) {
    const size_t newline = plain.rfind('\n');
    if (newline == std::string_view::npos && !line_start) return plain;
    const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
    return strip(plain.substr(start)).empty() ? plain.substr(0, start) : plain;
  }

  /// Behind a tag's end: "-" swallows all white space, a block's or comment's end one line end (trim_blocks). Whether
  /// what was swallowed ends with a line end.
  bool swallow(char sign, bool block) {
    const std::string_view rest = std::string_view(text_).substr(at_);
    size_t count = 0;
    if (sign == '-')
      count = rest.size() - strip_left(rest).size();
    else if (block && sign != '+')
      count = rest.starts_with('\n') ? 1 : 0;
    count_lines(rest.substr(0, count));
    at_ += count;
    return count > 0 && text_[at_ - 1] == '\n';
  }

  bool skip_comment() {
    const size_t end = text_.find("#}", at_);
    if (end == std::string::npos) refuse("a comment does not end");
    const char sign = end > at_ ? text_[end - 1] : ' ';
    count_lines(std::string_view(text_).substr(at_, end - at_));
    at_ = end + 2;
    return swallow(sign, true);
  }

  bool read_tag(char kind) {
    Piece piece{kind == '{' ? Piece::Kind::Output : Piece::Kind::Block, line_};
    const std::string close = kind == '{' ? "}}" : "%}";
    int depth = 0;  // of brackets: "}}" may end two objects
    while (true) {
      skip_blanks();
      const std::string_view rest = std::string_view(text_).substr(at_);
      if (rest.empty()) refuse("a tag does not end");
      if (depth == 0) {
        const bool signed_end = rest[0] == '-' || (rest[0] == '+' && kind != '{');
        if (rest.starts_with(close) || (signed_end && rest.substr(1).starts_with(close))) {
          const char sign = rest.starts_with(close) ? ' ' : rest[0];
          at_ += close.size() + (sign == ' ' ? 0 : 1);
          pieces_.push_back(std::move(piece));
          return swallow(sign, kind != '{');
        }
      }
      if (piece.tokens.size() >= kLongestTag) refuse("a tag of more than {} parts", kLongestTag);
      piece.tokens.push_back(read_token());
      const Token& token = piece.tokens.back();
      if (token.kind != Token::Kind::Symbol) continue;
      if (token.text == "(" || token.text == "[" || token.text == "{") ++depth;
      if ((token.text == ")" || token.text == "]" || token.text == "}") && --depth < 0)
        refuse("'{}' closes nothing", token.text);
    }
  }

  void skip_blanks() {
    const std::string_view rest = std::string_view(text_).substr(at_);
    const size_t count = rest.size() - strip_left(rest).size();
    count_lines(rest.substr(0, count));
    at_ += count;
  }

  Token read_token() {
    const char c = text_[at_];
    const auto is_word = [](char one) { return std::isalnum(static_cast<unsigned char>(one)) || one == '_'; };
    if (c == '\'' || c == '"') return read_string(c);
    const size_t start = at_;
    if (std::isdigit(static_cast<unsigned char>(c))) {
      while (at_ < text_.size() && (is_word(text_[at_]) || text_[at_] == '.')) ++at_;
      return {Token::Kind::Number, text_.substr(start, at_ - start)};
    }
    if (is_word(c)) {
      while (at_ < text_.size() && is_word(text_[at_])) ++at_;
      return {Token::Kind::Name, text_.substr(start, at_ - start)};
    }
    for (const std::string_view two : {"==", "!=", "<=", ">=", "//", "**"})
      if (std::string_view(text_).substr(at_).starts_with(two)) {
        at_ += 2;
        return {Token::Kind::Symbol, std::string(two)};
      }
    if (std::string_view("()[]{}.,:|+-*/%~<>=").find(c) == std::string_view::npos)
      refuse("'{}' begins nothing that is known", printable(std::string_view(&c, 1)));
    ++at_;
    return {Token::Kind::Symbol, std::string(1, c)};
  }

  Token read_string(char quote) {
    Token token{Token::Kind::String};
    for (++at_; at_ < text_.size() && text_[at_] != quote; ++at_) {
      char c = text_[at_];
      line_ += c == '\n';
      if (c == '\\' && at_ + 1 < text_.size()) c = escaped(text_[++at_], token.text);
      token.text += c;
    }
    if (at_ >= text_.size()) refuse("a string does not end");
    ++at_;
    return token;
  }

  /// What "\c" stands for, by the rule of Python's strings; a backslash that begins nothing stays in `text`.
  char escaped(char c, std::string& text) const {
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case '\\':
      case '\'':
      case '"':
        return c;
      default:
        if (std::string_view("abfvxuUN01234567\n").find(c) != std::string_view::npos)
          refuse("the escape \\{} is not supported", printable(std::string_view(&c, 1)));
        text += '\\';
        return c;
    }
  }

  std::string text_;
  const std::string& where_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Piece> pieces_;
};

}  // namespace

std::vector<Piece> pieces_of(std::string_view text, const std::string& where) { return Lexer(text, where).all(); }

}  // namespace yopo::jinja
