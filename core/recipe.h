// The YAML recipe: one file that says what to do from samples to scores. Strict: an unknown or mistyped key is an error
// with file, line, column and the nearest known key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"

namespace yopo {

struct DatasetOptions {
  std::string format = "llava";  // llava | conversations
  fs::path questions;            // .jsonl question file or .json conversation file
  fs::path images;               // folder the image names are in
  fs::path annotations;          // answers; default: answers.jsonl beside the questions if there
  int64_t samples = 0;           // how many to use; 0: all
};

enum class Queries { Prefill, Text, Decode };  // whose attention rows the ratio sums

struct CalibrationOptions {
  DatasetOptions dataset;
  Queries queries = Queries::Prefill;
};

/// How much to keep: an integer is a count, a number with a decimal point a fraction (`keep: 1` is one head, `1.0` all).
struct Keep {
  bool fraction = true;
  double value = 1.0;
};
enum class Scope { Layer, Model };  // rank within each layer, or across the model

struct HeadOptions {
  std::optional<Keep> keep;          // either this ...
  Scope scope = Scope::Layer;
  std::optional<double> threshold;   // ... or this: a vote is ratio > threshold
  double vote = 0.4;                 // kept with more than vote * samples votes
  std::optional<int64_t> exempt_layers;  // first layers that keep all heads; default 2 with threshold, 0 with keep
  fs::path mask;                     // ... or a ready head mask file (.npy)
};
enum class NeuronScore { MeanAbs, Rms, Active, Wanda };
struct FfnOptions {
  Keep keep;
  NeuronScore score = NeuronScore::Wanda;
  Scope scope = Scope::Layer;
};
struct WindowOptions {
  int64_t size = 0;
  bool causal = false;
};
struct PlanOptions {
  std::optional<WindowOptions> window;    // absent or "none": no window
  std::optional<HeadOptions> heads;       // absent: all
  std::optional<HeadOptions> updates;     // absent: as heads
  std::optional<FfnOptions> ffn;          // absent: all neurons
  std::optional<int64_t> visual_layers;   // absent: all layers
  std::string semantics = "skip";
};
struct EvaluateOptions {
  std::string benchmark = "vqa";
  DatasetOptions dataset;
  int64_t batch_size = 1;
  int64_t max_new_tokens = 0;  // 0: the benchmark's own
  std::string protocol;        // llava | lmms | plain (mmbench); "": llava
  std::string rule;            // MMBench: letter | vlmevalkit | lmms; "": the protocol's own
};

struct Recipe {
  fs::path file;                    // where it came from, for messages
  fs::path model;
  std::string dtype = "auto";       // auto | fp32 | bf16 | fp16
  std::string device = "auto";      // auto | cpu | cuda
  uint64_t seed = 0;
  fs::path output;
  std::optional<CalibrationOptions> calibration;
  std::optional<PlanOptions> plan;
  uint64_t shard_size = 5'000'000'000;   // bytes; "5GB" = 5e9, "5GiB" = 5 * 2^30
  int64_t verify_samples = 16;
  std::vector<EvaluateOptions> evaluate;
  /// The resolved recipe as YAML text with all defaults written out (for --dry-run and provenance). Deterministic.
  std::string resolved() const;
};

/// Reads a recipe, then applies overrides "a.b=c" (c parsed as YAML; a list index as `evaluate.0.benchmark`).
/// Relative paths stay relative to the working directory. UserError "file:line:column: ..." for syntax errors, unknown keys
/// (with the nearest known one), wrong types, values out of range, missing required keys, duplicate keys, aliases
/// (never expanded: hostile), and nesting past 32 levels.
Recipe read_recipe(const fs::path& path, const std::vector<std::string>& overrides = {});
/// The same from text (for tests and the fuzz target); `where` stands for the file.
Recipe parse_recipe(std::string_view text, const std::string& where, const std::vector<std::string>& overrides = {});

/// "5GB", "512MiB", "1000" -> bytes; UserError naming `where`.
uint64_t parse_size(std::string_view text, const std::string& where);
/// Flags of the command line share these with the recipe.
Keep parse_keep(std::string_view text, const std::string& where);
Queries parse_queries(std::string_view text, const std::string& where);
NeuronScore parse_score(std::string_view text, const std::string& where);
std::string_view name_of(Queries queries);
std::string_view name_of(NeuronScore score);

}  // namespace yopo
