// yopo::yopo: everything of yopo/runtime.h, and what makes a pruned checkpoint: calibrate, plan, export. Errors as
// there.
//
// The functions may be called from several threads, but each uses all CPU threads unless told otherwise. What they
// write appears whole or not at all; the same inputs give the same bytes.
#pragma once

#include <yopo/runtime.h>

#include <utility>

namespace yopo {
inline namespace v0 {

/// Asked between steps, in the thread that called; true ends the call with Stopped. Must be quick and not throw. A
/// program that uses signals should let no thread take them that is in a call: a handler's frame on the stack of
/// arithmetic has done harm.
using Stop = std::function<bool()>;

struct CalibrateSettings {
  std::filesystem::path model;      // dense checkpoint folder
  std::filesystem::path questions;  // question file (docs/formats.md)
  std::filesystem::path images;     // folder of the images it names
  std::filesystem::path output;     // stats.h5 to write; a run that was stopped goes on from output.partial
  std::string format = "llava";     // llava, conversations
  std::int64_t samples = 0;         // how many to use; 0: all
  std::uint64_t seed = 0;           // chooses them
  std::string queries = "prefill";  // whose attention rows are summed: prefill, text, decode
  std::string dtype = "auto";       // fp32, bf16, auto: as stored
  std::string chat_template;        // by name, instead of the checkpoint's own
  int threads = 0;                  // 0: all
  std::int64_t memory = 0;          // bytes; 0: what the machine has
  Stop stop;
};
/// Runs the dense model over samples and writes what it sees of visual tokens. Returns the number of samples. Called
/// again after it was stopped it goes on.
std::int64_t calibrate(const CalibrateSettings& settings);

struct PlanSettings {
  std::filesystem::path model;       // checkpoint folder, or a config.json alone
  std::filesystem::path statistics;  // stats.h5; empty where nothing is chosen by statistics
  std::filesystem::path output;      // plan.json to write; one that is there is replaced
  /// What is kept: the keys of a recipe's section `plan` (docs/formats.md) with their values, as
  /// {"ffn.keep=0.25", "ffn.scope=model", "window={size: 3, causal: true}", "visual_layers=10"}. None: everything.
  std::vector<std::string> keep;
  Stop stop;
};
/// Chooses heads, neurons, neighbours and layers. Returns what `yopo plan` prints: the plan's shape and cost as text.
/// For a budget (`budget=0.25`) call search_plan.
std::string plan(const PlanSettings& settings);

struct SearchSettings {
  std::filesystem::path model;       // dense checkpoint folder
  std::filesystem::path statistics;  // stats.h5 of that model
  std::filesystem::path questions;   // what the search measures plans on: a question file ...
  std::filesystem::path images;      // ... and the folder of its images
  std::filesystem::path output;      // plan.json to write, with search.jsonl and headmask.npy beside it
  std::string format = "llava";      // llava, conversations
  std::uint64_t seed = 0;
  std::string device = "auto", dtype = "auto";  // as in ModelOptions
  std::string chat_template;                    // by name, instead of the checkpoint's own
  int threads = 0;                              // 0: all
  std::int64_t memory = 0;                      // bytes; 0: what the machine has
  /// Keys of a recipe with their values: {"plan.budget=0.25", "search.evaluations=100", "compensate=none"}.
  std::vector<std::string> options;
  Stop stop;
};
/// Searches for the plan of a budget that stays closest to the dense model's answers (docs/search.md). Returns what
/// plan returns. Called again after it was stopped it goes on from search.jsonl. Error if another plan is at `output`.
std::string search_plan(const SearchSettings& settings);

struct RecipeSettings {
  std::filesystem::path recipe;        // YAML
  std::vector<std::string> overrides;  // {"plan.budget=0.25"}
  std::filesystem::path statistics;    // empty: those in the recipe's output folder
  std::filesystem::path output;        // plan.json to write; empty: that in the recipe's output folder
  int threads = 0;                     // 0: all
  std::int64_t memory = 0;             // bytes; 0: what the machine has
  Stop stop;
};
struct RecipePlan {
  std::filesystem::path plan, model;  // the plan's file, and the checkpoint that the recipe names
};
/// Makes the plan of a recipe, as `yopo plan RECIPE` does.
RecipePlan plan_of_recipe(const RecipeSettings& settings);

struct ExportSettings {
  std::filesystem::path model;             // dense checkpoint folder
  std::filesystem::path plan;              // plan.json
  std::filesystem::path output;            // a new folder, or an export of the same inputs
  std::uint64_t shard_size = 5000000000u;  // bytes of tensors in one file; 0: the source's own files
  bool transformers_code = false;          // code beside the weights, for transformers with trust_remote_code
  Stop stop;
};
/// What became of the source's files that are no weights. Nothing where the export was there already.
struct ExportReport {
  std::vector<std::string> copied, derived;                   // paths in the folder
  std::vector<std::pair<std::string, std::string>> left_out;  // a path in the source, and why
};
/// Writes the pruned checkpoint: the same weights in another order, with what running it pruned needs in config.json.
ExportReport export_pruned(const ExportSettings& settings);

}  // namespace v0
}  // namespace yopo
