// One small file a subcommand: parse, call the library, print.
#pragma once

#include <functional>
#include <string>

#include <CLI/CLI.hpp>

#include "core/json.h"
#include "pipeline/recipe.h"
#include "pipeline/stages.h"

namespace yopo::cli {

/// What every subcommand shares. A subcommand's callback sets `run`, which main calls once parsing has succeeded; it
/// returns the exit code.
struct Context {
  bool json = false;                // --json: the result on stdout for machines
  bool quiet = false;               // --quiet: no progress
  int threads = 0;                  // --threads: 0 is all
  std::string memory;               // --memory: a size; empty is no limit
  bool resumes = false;             // interrupted work is taken up by the same command
  std::vector<std::string> shared;  // the flags that every subcommand has, and those that bound its memory
  std::function<int()> run;
  RunSettings settings() const;
};

void add_run(CLI::App& app, Context& context);
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
void add_options(CLI::App& app, Context& context);

/// Whether a subcommand runs a model: only then is there memory to bound.
enum class Runs { Nothing, Model };
/// A subcommand with the shared flags and an example in its help.
CLI::App* add_command(CLI::App& app, Context& context, Runs runs, const std::string& name,
                      const std::string& description, const std::string& example);

/// Refuses numbers below `low`; `meaning` is what `low` itself stands for, "" for nothing special.
CLI::Validator at_least(int64_t low, const std::string& meaning = "");

/// Prints one JSON document on stdout.
void print_json(const Json& value);

/// The dataset flags --questions, --images, --annotations, --format, --samples.
struct DatasetFlags {
  std::string questions, images, annotations, format = "llava";
  int64_t samples = 0;
};
void add_dataset_flags(CLI::App* command, DatasetFlags& flags, bool required);
DatasetOptions dataset_of(const DatasetFlags& flags);

/// UserError naming the flags beside the recipe that was given, other than the shared ones and those `heard` there:
/// what they say stands in the recipe. Without a recipe there is nothing to --set.
void check_recipe_flags(const CLI::App& command, const Context& context, const std::vector<std::string>& heard = {});

/// A flag's value, or UserError saying that one of the two ways to call the command must be chosen.
void need(bool given, const std::string& command, const std::string& what);

}  // namespace yopo::cli
