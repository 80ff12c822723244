#include "models/chat_template.h"

#include <cctype>

#include "core/json.h"
#include "text/unicode.h"

namespace yopo {

namespace {

/// Drops blanks of a Jinja tag that mean nothing: around operators and at the ends; one is kept between words.
std::string tighten(std::string_view tag) {
  std::string out;
  char quote = 0;
  bool blank = false;
  const auto is_word = [](char c) { return std::isalnum(uint8_t(c)) || c == '_'; };
  // "if" behind a bracket is a word of its own, so a blank also stays between a bracket and a word.
  const auto ends_value = [&](char c) { return is_word(c) || c == ']' || c == ')' || c == '\''; };
  for (size_t i = 0; i < tag.size(); ++i) {
    const char c = tag[i];
    if (quote) {
      if (c == '\\' && i + 1 < tag.size() && tag[i + 1] == 'n') {
        out += '\n';
        ++i;
        continue;
      }
      out += c == quote ? '\'' : c;
      if (c == quote) quote = 0;
      continue;
    }
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      blank = true;
      continue;
    }
    if (blank && !out.empty() && ends_value(out.back()) && is_word(c)) out += ' ';
    blank = false;
    if (c == '\'' || c == '"') quote = c;
    out += quote ? '\'' : c;
  }
  return out;
}

/// What `plain`, in front of a tag, comes to: transformers compiles templates with lstrip_blocks, which drops blanks
/// between the start of a line and a block, and {%- drops all white space.
std::string_view trim_before(std::string_view plain, bool at_line_start, bool block, bool dash) {
  if (dash) return strip_right(plain);
  const size_t newline = plain.rfind('\n');
  if (!block || (newline == std::string_view::npos && !at_line_start)) return plain;
  const size_t start = newline == std::string_view::npos ? 0 : newline + 1;
  return plain.find_first_not_of(" \t", start) == std::string_view::npos ? plain.substr(0, start) : plain;
}

/// A Jinja text without comments, generation marks (they only point at the assistant's words), idle blanks in tags, and
/// the white space that blank control takes away.
std::string canonical(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);  // Jinja drops it
  std::string out;
  bool trim_next = false, line_start = true;
  while (!text.empty()) {
    size_t open = text.find('{');
    while (open != std::string_view::npos &&
           (open + 1 >= text.size() || std::string_view("{%#").find(text[open + 1]) == std::string_view::npos))
      open = text.find('{', open + 1);
    std::string_view plain = text.substr(0, open);
    if (trim_next) plain = strip_left(plain);
    if (open == std::string_view::npos) return out.append(plain);
    const char kind = text[open + 1];
    const bool dash = open + 2 < text.size() && text[open + 2] == '-';
    out += trim_before(plain, line_start, kind != '{', dash);

    const std::string close = kind == '{' ? "}}" : std::string(1, kind) + "}";
    const size_t end = text.find(close, open + 2);
    if (end == std::string_view::npos) return std::string(text);  // not Jinja: matches nothing
    std::string_view inner = text.substr(open + 2, end - open - 2);
    if (dash) inner.remove_prefix(1);
    trim_next = inner.ends_with('-');
    if (trim_next) inner.remove_suffix(1);
    text.remove_prefix(end + 2);
    line_start = kind != '{' && text.starts_with('\n');  // trim_blocks: a block swallows the newline behind it
    if (line_start) text.remove_prefix(1);
    const std::string tag = tighten(inner);
    if (kind == '{') out += "{{" + tag + "}}";
    if (kind == '%' && tag != "generation" && tag != "endgeneration") out += "{%" + tag + "%}";
  }
  return out;
}

}  // namespace

std::optional<ChatTemplate> find_chat_template(const fs::path& folder) {
  if (const fs::path file = folder / "chat_template.jinja"; fs::exists(file))
    return ChatTemplate{read_text(file, 1 << 20), file.string()};
  for (const char* name : {"chat_template.json", "processor_config.json", "tokenizer_config.json"}) {
    const fs::path file = folder / name;
    if (!fs::exists(file)) continue;
    const Json json = read_json(file);
    if (!has(json, "chat_template")) continue;
    const Json& value = json.at("chat_template");
    const std::string where = file.string() + ": chat_template";
    if (value.is_string()) return ChatTemplate{value.get<std::string>(), where};
    require(value.is_array(), "{}: expected a text or a list of named templates", where);
    for (const Json& entry : value)
      if (get_string(entry, "name", where) == "default")
        return ChatTemplate{get_string(entry, "template", where), where};
    fail("{}: no template has the name default", where);
  }
  return std::nullopt;
}

bool same_chat_template(std::string_view text, std::string_view other) { return canonical(text) == canonical(other); }

}  // namespace yopo
