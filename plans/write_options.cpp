// Options of a plan as a recipe's section, as JSON, and as the table of the documentation.
#include <filesystem>

#include "core/error.h"
#include "core/section.h"
#include "plans/option_schema.h"

namespace yopo {
namespace {

using OptionKind = PlanOption::Kind;

constexpr std::string_view table_begin =
    "<!-- plan options: written by `yopo options --write docs/formats.md` from plans/option_schema.cpp -->";
constexpr std::string_view table_end = "<!-- /plan options -->";

/// Shortest text that reads back as the same number, always with a decimal point or exponent.
std::string decimal(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string text_of(const PlanOption& option, const OptionValue& value) {
  switch (option.kind) {
    case OptionKind::Keep: {
      const Keep keep = std::get<Keep>(value);
      return keep.fraction ? decimal(keep.value) : fmt::format("{}", int64_t(keep.value));
    }
    case OptionKind::Integer:
    case OptionKind::OddInteger:
      return fmt::format("{}", std::get<int64_t>(value));
    case OptionKind::Number:
      return decimal(std::get<double>(value));
    case OptionKind::Flag:
      return std::get<bool>(value) ? "true" : "false";
    case OptionKind::Path:
      return yaml_quoted(std::get<std::string>(value));
    case OptionKind::Word:
      return std::get<std::string>(value);
    case OptionKind::Budget:
      return budget_text(std::get<Budget>(value));
  }
  throw InternalError("an option of no kind");
}

Json json_of(const PlanOption& option, const OptionValue& value) {
  switch (option.kind) {
    case OptionKind::Keep: {
      const Keep keep = std::get<Keep>(value);
      return keep.fraction ? Json(keep.value) : Json(int64_t(keep.value));
    }
    case OptionKind::Integer:
    case OptionKind::OddInteger:
      return std::get<int64_t>(value);
    case OptionKind::Number:
      return std::get<double>(value);
    case OptionKind::Flag:
      return std::get<bool>(value);
    case OptionKind::Path:
      return fs::path(std::get<std::string>(value)).filename().string();
    case OptionKind::Word:
      return std::get<std::string>(value);
    case OptionKind::Budget:
      return budget_json(std::get<Budget>(value));
  }
  throw InternalError("an option of no kind");
}

/// What an option may be, for the table.
std::string choices(const PlanOption& option) {
  if (option.words.empty()) return "";
  std::string text;
  for (const std::string& word : option.words) text += (text.empty() ? "`" : ", `") + word + "`";
  return text + ": ";
}

}  // namespace

std::string yaml_quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02X}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string plan_options_text(const PlanOptions& options) {
  std::string out = options.window || options.budget ? "plan:\n" : "plan:\n  window: none\n", open;
  for (const PlanOption& option : plan_option_schema()) {
    const std::string section = option.section();
    const std::optional<OptionValue> value = option.get(options);
    if (!open.empty() && section != open) {
      out += "}\n";
      open.clear();
    }
    if (!value) continue;
    const std::string text = option.name() + ": " + text_of(option, *value);
    if (section.empty()) {
      out += "  " + text + "\n";
    } else {
      out += open.empty() ? "  " + section + ": {" + text : ", " + text;
      open = section;
    }
  }
  return out;
}

Json plan_options_json(const PlanOptions& options) {
  Json json = Json::object();
  for (const PlanOption& option : plan_option_schema())
    if (const std::optional<OptionValue> value = option.get(options)) {
      const std::string section = option.section();
      (section.empty() ? json : json[section])[option.name()] = json_of(option, *value);
    }
  return json;
}

std::string option_table() {
  std::string text = "| key | flag of `yopo plan` | default | meaning |\n|---|---|---|---|\n";
  for (const PlanOption& option : plan_option_schema()) {
    std::string with;
    for (const std::string& other : option.beside) with += (with.empty() ? "with `" : " or `") + other + "`";
    text += fmt::format("| `plan.{}` | `{}` | {} | {}{}{} |\n", option.key, option.flag, option.fallback,
                        choices(option), with.empty() ? "" : with + ": ", option.help);
  }
  return text;
}

std::string with_option_table(const std::string& text, const std::string& where) {
  return with_section(text, table_begin, table_end, option_table(), where);
}

}  // namespace yopo
