// yopo::yopo: everything of yopo/runtime.h, and what makes a pruned checkpoint: calibrate, plan, export. Errors as
// there.
//
// The functions may be called from several threads, but each uses all CPU threads unless told otherwise. What they
// write appears whole or not at all; the same inputs give the same bytes.
#pragma once

#include <yopo/runtime.h>

namespace yopo {
inline namespace v0 {

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
};
/// Runs the dense model over samples and writes what it sees of visual tokens. Returns the number of samples.
std::int64_t calibrate(const CalibrateSettings& settings);

struct PlanSettings {
  std::filesystem::path model;       // checkpoint folder, or a config.json alone
  std::filesystem::path statistics;  // stats.h5; empty where nothing is chosen by statistics
  std::filesystem::path output;      // plan.json to write; one that is there is replaced
  /// What is kept: the keys of a recipe's section `plan` (docs/formats.md) with their values, as
  /// {"ffn.keep=0.25", "ffn.scope=model", "window={size: 3, causal: true}", "visual_layers=10"}. None: everything.
  std::vector<std::string> keep;
};
/// Chooses heads, neurons, neighbours and layers. Returns what `yopo plan` prints: the plan's shape and cost as text.
std::string plan(const PlanSettings& settings);

struct ExportSettings {
  std::filesystem::path model;             // dense checkpoint folder
  std::filesystem::path plan;              // plan.json
  std::filesystem::path output;            // a new folder, or an export of the same inputs
  std::uint64_t shard_size = 5000000000u;  // bytes of tensors in one file; 0: the source's own files
};
/// Writes the pruned checkpoint: the same weights in another order, with what running it pruned needs in config.json.
void export_pruned(const ExportSettings& settings);

}  // namespace v0
}  // namespace yopo
