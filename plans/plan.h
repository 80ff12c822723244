// plan.json: which computation visual tokens get. One language for every method of the field; see docs/formats.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "models/spec.h"

namespace yopo {

/// What a dropped (query, visual key) pair does: leaves the softmax (Skip, what the runtime computes), or is zeroed
/// after it as the published simulations do (FORMATS.md, section 5).
enum class Semantics { Skip, Llava, Qwen2Vl };
std::string_view name_of(Semantics semantics);  // "skip", "llava", "qwen2_vl"
/// UserError naming `where` and the nearest known name.
Semantics parse_semantics(std::string_view name, const std::string& where);

struct Window {
  int64_t size = 0;     // odd; a visual query reads visual keys within (size - 1) / 2 rows and columns
  bool causal = false;  // only earlier ones (and itself)
  bool operator==(const Window&) const = default;
};

using HeadMask = std::vector<std::vector<uint8_t>>;  // [L][H], 1 = kept

struct Plan {
  Semantics semantics = Semantics::Skip;
  std::optional<Window> window;
  int64_t visual_layers = 0;                             // visual tokens are computed in layers [0, visual_layers)
  HeadMask heads;                                        // [L][H]
  std::optional<HeadMask> updates;                       // [L][H], within heads; absent: heads
  std::vector<std::optional<std::vector<int64_t>>> ffn;  // [L] ascending neuron indices; nullopt: all
  Json provenance = Json::object();

  int64_t layers() const { return int64_t(heads.size()); }
  const HeadMask& updated() const { return updates ? *updates : heads; }
  /// Sizes of the ffn sets as they are, past visual_layers too: [L].
  std::vector<int64_t> ffn_counts(int64_t intermediate_size) const;
  /// Query heads kept / updated per layer; zero past visual_layers. [L]
  std::vector<int64_t> head_counts() const;
  std::vector<int64_t> update_counts() const;
  bool operator==(const Plan&) const = default;
};

/// Everything kept, no window: the dense model.
Plan dense_plan(const DecoderSpec& spec);
bool is_dense(const Plan& plan, const DecoderSpec& spec);

/// UserError naming `where`, the layer and both sizes for a plan that does not fit the model: layer or head counts,
/// neuron indices out of range or unsorted, updates outside heads, an even window, visual_layers out of range.
void check_plan(const Plan& plan, const DecoderSpec& spec, const std::string& where);

/// Strict: unknown keys, wrong types and other versions are UserErrors. Does not know the model; follow with
/// check_plan.
Plan plan_from_json(const Json& json, const std::string& where);
Json plan_to_json(const Plan& plan);
Plan read_plan(const fs::path& path);
/// `{"size": n, "causal": b}` or null; read back from the member "window" of `parent` (absent: none).
Json window_to_json(const std::optional<Window>& window);
std::optional<Window> window_from_json(const Json& parent, const std::string& where);
/// Layers one a line: readable diffs.
void write_plan(const fs::path& path, const Plan& plan);

}  // namespace yopo
