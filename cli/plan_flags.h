// The options of a plan as flags, from the schema.
#pragma once

#include <memory>

#include "cli/command.h"
#include "plans/option_schema.h"

namespace yopo::cli {

/// The values of flags made from the schema, as they were typed.
struct PlanFlags {
  std::map<const PlanOption*, std::string> texts;  // of flags that were given
  /// UserError naming `place` ("plan") and the flags.
  PlanOptions options(const std::string& place, const OptionName& name) const;
};
/// Adds a flag for each option of the schema that `name` calls something; `flags` outlives the command.
void add_plan_flags(CLI::App* command, const std::shared_ptr<PlanFlags>& flags, const OptionName& name);

}  // namespace yopo::cli
