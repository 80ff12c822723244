#include "cli/plan_flags.h"

namespace yopo::cli {
namespace {

/// The help of a flag: the schema's, without the marks of its table.
std::string help_of(const PlanOption& option) {
  std::string help;
  for (const std::string& word : option.words) help += (help.empty() ? "" : ", ") + word;
  help += (help.empty() ? "" : ": ") + option.help;
  if (!option.fallback.empty()) help += " (default: " + option.fallback + ")";
  std::erase(help, '`');
  return help;
}

}  // namespace

PlanOptions PlanFlags::options(const std::string& place, const OptionName& name) const {
  OptionFlags flags(place);
  for (const PlanOption& option : plan_option_schema())
    if (const auto found = texts.find(&option); found != texts.end()) flags.give(option, found->second);
  return read_plan_options(flags.tree(), name);
}

void add_plan_flags(CLI::App* command, const std::shared_ptr<PlanFlags>& flags, const OptionName& name) {
  for (const PlanOption& option : plan_option_schema()) {
    const std::string flag = name(option);
    if (flag.empty()) continue;
    if (option.kind == PlanOption::Kind::Flag)
      command->add_flag_callback(
          flag, [flags, &option] { flags->texts[&option] = "true"; }, help_of(option));
    else
      command->add_option_function<std::string>(
          flag, [flags, &option](const std::string& text) { flags->texts[&option] = text; }, help_of(option));
  }
}

}  // namespace yopo::cli
