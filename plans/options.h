// What a plan is asked to keep, as recipes and flags say it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/file.h"

namespace yopo {

/// How much to keep: an integer is a count, a number with a decimal point a fraction (`keep: 1` is one head, `1.0`
/// all).
struct Keep {
  bool fraction = true;
  double value = 1.0;
};
enum class Scope { Layer, Model };  // rank within each layer, or across the model

struct HeadOptions {
  std::optional<Keep> keep;  // either this ...
  Scope scope = Scope::Layer;
  std::optional<double> threshold;       // ... or this: a vote is ratio > threshold
  double vote = 0.4;                     // kept with more than vote * samples votes
  std::optional<int64_t> exempt_layers;  // first layers that keep all heads; default 2 with threshold, 0 with keep
  fs::path mask;                         // ... or a ready head mask file (.npy)
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
  std::optional<WindowOptions> window;   // absent or "none": no window
  std::optional<HeadOptions> heads;      // absent: all
  std::optional<HeadOptions> updates;    // absent: as heads
  std::optional<FfnOptions> ffn;         // absent: all neurons
  std::optional<int64_t> visual_layers;  // absent: all layers
  std::string semantics = "skip";
};

/// Flags of the command line share these with the recipe. UserError naming `where`.
Keep parse_keep(std::string_view text, const std::string& where);
NeuronScore parse_score(std::string_view text, const std::string& where);
std::string_view name_of(NeuronScore score);

}  // namespace yopo
