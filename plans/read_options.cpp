// Options of a plan from a recipe's section or from flags.
#include <algorithm>

#include "core/error.h"
#include "plans/option_schema.h"

namespace yopo {
namespace {

using OptionKind = PlanOption::Kind;

/// A scalar as the option's kind. UserError at its place.
OptionValue value_of(const PlanOption& option, const YamlNode& node, const std::string& name) {
  const std::string where = fmt::format("{}: {}", node.place, name);
  switch (option.kind) {
    case OptionKind::Budget:
      return read_budget(node, name);
    case OptionKind::Keep:
      require(!node.quoted, "{}: {} should be a number, found text", node.place, name);
      return parse_keep(yaml_string(node, name), where);
    case OptionKind::Integer:
      return yaml_int(node, name, int64_t(option.low), int64_t(option.high));
    case OptionKind::OddInteger: {
      const int64_t value = yaml_int(node, name, int64_t(option.low), int64_t(option.high));
      require(value % 2 == 1, "{}: {} should be odd (the same number of rows on both sides), found {}", node.place,
              name, value);
      return value;
    }
    case OptionKind::Number:
      return yaml_number(node, name, option.low, option.high);
    case OptionKind::Flag:
      return yaml_bool(node, name);
    case OptionKind::Path:
      return yaml_string(node, name);
    case OptionKind::Word: {
      const std::string text = yaml_string(node, name);
      require(std::find(option.words.begin(), option.words.end(), text) != option.words.end(),
              "{}: expected one of {}; found '{}'{}", where, fmt::join(option.words, ", "), printable(text),
              did_you_mean(text, option.words));
      return text;
    }
  }
  throw InternalError("an option of no kind");
}

/// The options of a section, or with "" those that are in none.
std::vector<const PlanOption*> options_in(const std::string& section) {
  std::vector<const PlanOption*> found;
  for (const PlanOption& option : plan_option_schema())
    if (option.section() == section) found.push_back(&option);
  return found;
}

std::string listed(const std::vector<std::string>& names, const char* last) {
  std::string text = names.front();
  for (size_t i = 1; i < names.size(); ++i) text += (i + 1 == names.size() ? last : ", ") + names[i];
  return text;
}

/// What a section needs is there, once, and nothing would be ignored: that would be a misunderstanding.
void check_section(const YamlNode& node, const std::string& section, const OptionName& name) {
  const std::vector<const PlanOption*> options = options_in(section);
  std::vector<std::string> ways, given;
  const PlanOption* way = nullptr;
  for (const PlanOption* option : options) {
    if (!option->beside.empty()) continue;
    if (const std::string called = name(*option); !called.empty()) ways.push_back(called);
    if (node.find(option->name()) == nullptr) continue;
    given.push_back(name(*option));
    way = option;
  }
  if (ways.size() == 1)
    require(given.size() == 1, "{}: '{}' is missing in plan.{}", node.place, ways.front(), section);
  else
    require(given.size() == 1, "{}: plan.{} needs exactly one of {}", node.place, section, listed(ways, " and "));
  for (const PlanOption* option : options) {
    const YamlNode* found = node.find(option->name());
    const auto& beside = option->beside;
    if (!found || beside.empty() || std::find(beside.begin(), beside.end(), way->name()) != beside.end()) continue;
    std::vector<std::string> others;
    for (const PlanOption* other : options)
      if (std::find(beside.begin(), beside.end(), other->name()) != beside.end()) others.push_back(name(*other));
    fail("{}: {} goes with {}; plan.{} is chosen by {}", found->place, name(*option), listed(others, " or "), section,
         name(*way));
  }
}

}  // namespace

PlanOptions read_plan_options(const YamlNode& plan, const OptionName& name) {
  std::vector<std::string> sections, keys;  // the sections, and all keys in the schema's order
  for (const PlanOption& option : plan_option_schema()) {
    const std::string section = option.section();
    if (!section.empty() && (sections.empty() || sections.back() != section)) sections.push_back(section);
    const std::string& key = section.empty() ? option.key : section;
    if (keys.empty() || keys.back() != key) keys.push_back(key);
  }
  check_keys(plan, "plan", keys);
  if (const YamlNode* budget = plan.find("budget"))
    for (const std::string& key : keys)
      if (const YamlNode* other = plan.find(key); other && key != "budget" && key != "semantics")
        fail("{}: plan.budget chooses everything, so plan.{} ({}) cannot be given beside it", budget->place, key,
             other->place);

  PlanOptions result;
  const auto is_none = [](const YamlNode& node) {
    return node.kind == YamlNode::Kind::Scalar && node.text == "none" && !node.quoted;
  };
  for (const std::string& section : sections) {
    const YamlNode* node = plan.find(section);
    if (!node) continue;
    if (section == "window" && is_none(*node)) {
      for (const PlanOption* option : options_in(section))
        require(!node->find(option->name()), "{}: {} says nothing where there is no window", node->place,
                name(*option));
      continue;
    }
    std::vector<std::string> known;
    for (const PlanOption* option : options_in(section)) known.push_back(option->name());
    check_keys(*node, "plan." + section, known);
    check_section(*node, section, name);
    for (const PlanOption* option : options_in(section))
      if (const YamlNode* value = node->find(option->name()))
        option->set(result, value_of(*option, *value, name(*option)));
  }
  for (const PlanOption* option : options_in(""))
    if (const YamlNode* value = plan.find(option->key)) option->set(result, value_of(*option, *value, name(*option)));
  return result;
}

void OptionFlags::give(const PlanOption& option, std::string text) { given_.emplace_back(&option, std::move(text)); }

YamlNode OptionFlags::tree() const {
  const auto map = [&] {
    YamlNode node;
    node.kind = YamlNode::Kind::Map;
    node.place = place_;
    return node;
  };
  const auto entry_of = [&](YamlNode& parent, const std::string& key) -> YamlNode& {
    for (YamlEntry& entry : parent.entries)
      if (entry.key == key) return entry.value;
    parent.entries.push_back({key, place_, map()});
    return parent.entries.back().value;
  };
  YamlNode root = map();
  for (const auto& [option, text] : given_) {
    YamlNode scalar;
    scalar.kind = YamlNode::Kind::Scalar;
    scalar.text = text;
    scalar.place = place_;
    const std::string section = option->section();
    if (section.empty() || (section == "window" && text == "none"))
      entry_of(root, section.empty() ? option->key : section) = scalar;
    else
      entry_of(entry_of(root, section), option->name()) = scalar;
  }
  return root;
}

}  // namespace yopo
