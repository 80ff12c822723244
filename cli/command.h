// One small file a subcommand: parse, call the library, print.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/checks.h"
#include "core/json.h"
#include "models/prompt.h"
#include "pipeline/recipe.h"
#include "pipeline/stages.h"
#include "ranks/group.h"

namespace yopo::cli {

/// What every subcommand shares. A subcommand's callback sets `run`, which main calls once parsing has succeeded; it
/// returns the exit code.
struct Context {
  bool json = false;                 // --json: the result on stdout for machines
  bool quiet = false;                // --quiet: no progress
  bool strict = false;               // --strict: remarks are errors
  int threads = 0;                   // --threads: 0 is all
  std::string memory;                // --memory: a size; empty is no limit
  bool resumes = false;              // interrupted work is taken up by the same command
  bool shares = false;               // several processes that a launcher started share the work
  std::unique_ptr<RankGroup> ranks;  // these, if there are several
  /// Whether rank 0 does what only one process does, and this is another one.
  bool follows() const { return !leads(ranks.get()); }
  std::function<int()> run;
  RunSettings settings() const;
};

void add_run(CLI::App& app, Context& context);
void add_compare(CLI::App& app, Context& context);
void add_calibrate(CLI::App& app, Context& context);
void add_plan(CLI::App& app, Context& context);
void add_headmask(CLI::App& app, Context& context);
void add_export(CLI::App& app, Context& context);
void add_verify(CLI::App& app, Context& context);
void add_eval(CLI::App& app, Context& context);
void add_generate(CLI::App& app, Context& context);
void add_inspect(CLI::App& app, Context& context);
void add_merge(CLI::App& app, Context& context);
void add_trace(CLI::App& app, Context& context);
void add_bench(CLI::App& app, Context& context);
void add_random(CLI::App& app, Context& context);
void add_report(CLI::App& app, Context& context);
void add_options(CLI::App& app, Context& context);

/// Whether a subcommand runs a model: only then is there memory to bound.
enum class Runs { Nothing, Model };
/// A subcommand with the shared flags and an example in its help.
CLI::App* add_command(CLI::App& app, Context& context, Runs runs, const std::string& name,
                      const std::string& description, const std::string& example);

/// The recipe and --set of a subcommand that takes either a recipe or flags, which are added after these.
void add_recipe_flags(CLI::App* command, std::string& recipe, std::vector<std::string>& overrides);
/// With a recipe, UserError for flags that would be ignored: those behind --set that are not in `with_recipe`
/// ("--output"). Without one, for --set.
void check_recipe_flags(const CLI::App& command, const std::vector<std::string>& with_recipe);

/// Joins the other processes that a launcher started, if any. UserError for a command that has nothing to share, and as
/// RankGroup says. All but rank 0 are quiet from then on.
void join_ranks(const std::string& command, Context& context);

/// Prints one JSON document on stdout.
void print_json(const Json& value);

/// The dataset flags --questions, --images, --annotations, --format, --samples.
struct DatasetFlags {
  std::string questions, images, annotations, format = "llava";
  int64_t samples = 0;
};
void add_dataset_flags(CLI::App* command, DatasetFlags& flags, bool required);
DatasetOptions dataset_of(const DatasetFlags& flags);

/// --budget: which plan of a checkpoint with several.
void add_budget_flag(CLI::App* command, std::string& budget);

/// --template, --image-backend and --exif-transpose, wherever prompts are made.
void add_prompt_flags(CLI::App* command, PromptOptions& prompts);
/// `overrides` with what these flags say, if anything.
std::vector<std::string> with_prompts(std::vector<std::string> overrides, const PromptOptions& prompts);

/// A flag's value, or UserError saying that one of the two ways to call the command must be chosen.
void need(bool given, const std::string& command, const std::string& what);

}  // namespace yopo::cli
