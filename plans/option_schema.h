// Every option of a plan, said once: its key in a recipe, its flag, what it may be, what it means. Reading recipes and
// flags, the resolved recipe, a plan's provenance and the table in docs/formats.md all walk this list.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "core/json.h"
#include "core/yaml.h"
#include "plans/options.h"

namespace yopo {

using OptionValue = std::variant<bool, int64_t, double, Keep, std::string, Budget>;

struct PlanOption {
  std::string key;   // in the recipe's section plan: "heads.keep", "visual_layers"
  std::string flag;  // of `yopo plan`
  enum class Kind { Keep, Integer, OddInteger, Number, Flag, Word, Path, Budget } kind = Kind::Keep;
  std::string fallback;            // the default, as the documentation says it
  std::string help;                // what it means: one line
  std::vector<std::string> words;  // of a Word
  double low = 0, high = 0;        // of numbers
  /// Keys of the same section: the option says something only beside one of them. Without any, the section needs it,
  /// or exactly one of the options that are so.
  std::vector<std::string> beside;
  std::function<void(PlanOptions&, const OptionValue&)> set;
  /// The value in force, defaults included; nothing where it says nothing.
  std::function<std::optional<OptionValue>(const PlanOptions&)> get;

  std::string section() const;  // "heads", or "" of an option that is not in one
  std::string name() const;     // "keep", "visual_layers"
};
const std::vector<PlanOption>& plan_option_schema();

/// How messages call an option: by its key (a recipe), or by a flag; "" where it cannot be given.
using OptionName = std::function<std::string(const PlanOption&)>;
std::string option_key(const PlanOption& option);
std::string option_flag(const PlanOption& option);
/// The place of options that were given as flags of the command `where`.
OptionPlace flag_place(std::string where, const OptionName& name);

/// Options from a map with the keys of the schema; `window` may be the word none. UserError at the node's place for
/// unknown keys, wrong types, values out of range, a section without what it needs, an option that says nothing beside
/// the others.
PlanOptions read_plan_options(const YamlNode& plan, const OptionName& name = option_key);

/// Flags as the tree that read_plan_options reads.
class OptionFlags {
 public:
  explicit OptionFlags(std::string place) : place_(std::move(place)) {}
  void give(const PlanOption& option, std::string text);
  YamlNode tree() const;

 private:
  std::string place_;  // "plan", for messages
  std::vector<std::pair<const PlanOption*, std::string>> given_;
};

/// The section `plan` of a resolved recipe: every default written out. Reads back as the same options.
std::string plan_options_text(const PlanOptions& options);
/// The same for a plan's provenance. Of a mask file the name alone: where the file was says nothing about what was in
/// it, and the plan holds the mask itself.
Json plan_options_json(const PlanOptions& options);

/// In double quotes: no word can then be taken for a number, a null or a tag.
std::string yaml_quoted(const std::string& text);

/// The table of all options in Markdown.
std::string option_table();
/// `text` with the table between the lines that mark its place. UserError naming `where` if it has no such lines.
std::string with_option_table(const std::string& text, const std::string& where);

}  // namespace yopo
