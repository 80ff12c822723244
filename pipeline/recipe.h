// The YAML recipe: one file that says what to do from samples to scores. Strict: an unknown or mistyped key is an error
// with file, line, column and the nearest known key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibration/queries.h"
#include "core/file.h"
#include "evaluation/benchmarks/open.h"
#include "models/prompt.h"
#include "plans/options.h"
#include "search/options.h"

namespace yopo {

struct Recipe {
  fs::path file;  // where it came from, for messages
  fs::path model;
  std::string dtype = "auto";   // auto | fp32 | bf16 | fp16
  std::string device = "auto";  // auto | cpu | cuda
  PromptOptions prompts;
  uint64_t seed = 0;
  fs::path output;
  std::optional<CalibrationOptions> calibration;
  std::optional<PlanOptions> plan;
  SearchOptions search;                                               // of a plan with a budget, as what follows
  std::optional<CompensateOptions> compensate = CompensateOptions();  // absent: none
  std::vector<double> budgets;          // export.budgets, the largest first; none: one plan
  uint64_t shard_size = 5'000'000'000;  // bytes; "5GB" = 5e9, "5GiB" = 5 * 2^30
  bool transformers_code = false;       // export.transformers_code
  int64_t verify_samples = 16;
  std::vector<EvaluateOptions> evaluate;
  /// The resolved recipe as YAML text with all defaults written out (for --dry-run and provenance). Deterministic.
  std::string resolved() const;
};

/// Reads a recipe, then applies overrides "a.b=c" (c parsed as YAML; a list index as `evaluate.0.benchmark`).
/// Relative paths stay relative to the working directory. UserError "file:line:column: ..." for syntax errors, unknown
/// keys (with the nearest known one), wrong types, values out of range, missing required keys, duplicate keys, aliases
/// (never expanded: hostile), and nesting past 32 levels.
Recipe read_recipe(const fs::path& path, const std::vector<std::string>& overrides = {});
/// The same from text (for tests and the fuzz target); `where` stands for the file.
Recipe parse_recipe(std::string_view text, const std::string& where, const std::vector<std::string>& overrides = {});

}  // namespace yopo
