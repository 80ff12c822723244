// What a plan is asked to keep, as recipes and flags say it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/file.h"
#include "plans/budget.h"

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
  std::optional<int64_t> exempt_layers;  // first layers that keep all heads; see exempt_layers() for the default
  fs::path mask;                         // ... or a ready head mask file (.npy)
};
/// As given, else 2 with a threshold (the published code's) and 0 with a number.
int64_t exempt_layers(const HeadOptions& options);
enum class NeuronScore { MeanAbs, Rms, Active, Wanda };
struct FfnOptions {
  Keep keep;
  NeuronScore score = NeuronScore::Wanda;
  Scope scope = Scope::Layer;
  std::optional<int64_t> multiple = {};  // as given; see whole_neurons() for the default
};
/// A layer's neurons that a fraction keeps, `count` of `width`, as a number that products like: the nearest multiple,
/// at least one where there is one. Without a multiple that is 32 where there are many (2,048 and more); a count that
/// was given stays.
int64_t whole_neurons(const FfnOptions& options, int64_t count, int64_t width);
struct WindowOptions {
  int64_t size = 0;
  bool causal = false;
};
struct PlanOptions {
  std::optional<Budget> budget;         // what may be spent: the search chooses everything else
  std::optional<WindowOptions> window;  // absent or "none": no window
  std::optional<HeadOptions> heads;     // absent: all
  std::optional<HeadOptions> updates;   // absent: as heads
  std::optional<FfnOptions> ffn;        // absent: all neurons
  std::optional<Keep> visual_layers;    // absent: all layers
  std::string semantics = "skip";
};

/// Where options were given and what they are called there, for messages: "r.yaml: plan: heads: keep" of a recipe,
/// "plan: --heads-keep" of flags.
class OptionPlace {
 public:
  using Name = std::function<std::string(const std::string& key)>;  // of "heads.keep"

  OptionPlace(std::string where, Name name = {}) : where_(std::move(where)), name_(std::move(name)) {}
  OptionPlace(const char* where) : OptionPlace(std::string(where)) {}
  /// The same place, for the options of a section.
  OptionPlace section(const std::string& section) const;
  std::string all() const;
  std::string of(const std::string& option) const;

 private:
  std::string where_, section_;
  Name name_;
};

/// Flags of the command line share these with the recipe. UserError naming `where`.
Keep parse_keep(std::string_view text, const std::string& where);
NeuronScore parse_score(std::string_view text, const std::string& where);
std::string_view name_of(NeuronScore score);
std::string_view name_of(Scope scope);

/// How many of `whole` a number stands for: a fraction is rounded to the nearest count; a count must be at most
/// `whole`. UserError naming `where`, `what` ("heads") and `there` ("that a layer has") otherwise.
int64_t kept_count(const Keep& keep, int64_t whole, std::string_view what, std::string_view there,
                   const std::string& where);
/// Layers that compute visual tokens, of `layers`.
int64_t visual_layer_count(const PlanOptions& options, int64_t layers, const OptionPlace& place);

}  // namespace yopo
