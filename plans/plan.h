// Which computation visual tokens get, layer by layer. One language for every method of the field; the files that hold
// it are in docs/formats.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "models/spec.h"

namespace yopo {

/// What a dropped (query, visual key) pair does: leaves the softmax (Skip, what the runtime computes), or is zeroed
/// after it as the published simulations do (docs/architecture.md, "A plan").
enum class Semantics { Skip, Llava, Qwen2Vl };
std::string_view name_of(Semantics semantics);  // "skip", "llava", "qwen2_vl"
/// UserError naming `where` and the nearest known name.
Semantics parse_semantics(std::string_view name, const std::string& where);

/// Of a window, in rows and columns; it is odd.
inline constexpr int64_t kLargestWindow = 65'535;

struct Window {
  int64_t size = 0;     // odd; a visual query reads visual keys within (size - 1) / 2 rows and columns
  bool causal = false;  // only earlier ones (and itself)
  bool operator==(const Window&) const = default;
};

using HeadFlags = std::vector<uint8_t>;   // [H], 1 = kept
using HeadMask = std::vector<HeadFlags>;  // [L][H]

/// How many are kept.
int64_t ones(const HeadFlags& flags);
using Neurons = std::vector<int64_t>;  // ascending indices in [0, F)

/// What a layer adds to each visual row in place of what it no longer computes: up (down n) + bias, with n the row as
/// the FFN reads it, behind its norm; added after the FFN. Fitted by compress/compensate.h.
struct Compensation {
  int64_t rank = 0;         // 0: the bias alone
  std::vector<float> down;  // [rank, hidden_size]
  std::vector<float> up;    // [hidden_size, rank]
  std::vector<float> bias;  // [hidden_size]
  bool operator==(const Compensation&) const = default;
};

/// What one layer does for visual rows. A layer that is not alive computes nothing for them; what its other fields say
/// is then only read by the published simulations, which apply their masks in every layer.
struct LayerPlan {
  std::optional<Window> window;                           // absent: a visual query reads all earlier visual keys
  HeadFlags heads;                                        // [H] heads that visual keys exist in: text reads them there
  HeadFlags updates;                                      // [H] those among `heads` that visual queries compute
  std::optional<Neurons> neurons;                         // FFN neurons that visual rows use; absent: all
  bool alive = true;                                      // visual tokens are computed here
  std::shared_ptr<const Compensation> compensation = {};  // none where the layer is not alive
  bool operator==(const LayerPlan& other) const;
};

struct Plan {
  Semantics semantics = Semantics::Skip;
  std::vector<LayerPlan> layers;  // [L]; those that are alive come first
  Json provenance = Json::object();
  bool operator==(const Plan&) const = default;
};

/// How much of a layer visual rows use; all zero where it is not alive.
struct LayerCounts {
  int64_t heads = 0;     // query heads that text reads visual keys in
  int64_t updates = 0;   // query heads that visual queries compute
  int64_t kv_heads = 0;  // KV heads with a query head among `heads`: those that hold visual keys
  int64_t neurons = 0;
  int64_t rank = 0;  // of the compensation
  bool operator==(const LayerCounts&) const = default;
};
LayerCounts layer_counts(const LayerPlan& layer, const DecoderSpec& spec);

/// Visual tokens are computed in layers [0, visual_layers) and do not exist after them.
int64_t visual_layers(const Plan& plan);
/// The flags of every layer as they are, in those that are not alive, too. [L][H]
HeadMask head_mask(const Plan& plan);
HeadMask update_mask(const Plan& plan);
/// The same for all layers. A mask is [L][H]; set_heads makes every head that is kept an updated one.
void set_visual_layers(Plan& plan, int64_t count);
void set_window(Plan& plan, const std::optional<Window>& window);
void set_heads(Plan& plan, const HeadMask& mask);
void set_updates(Plan& plan, const HeadMask& mask);

/// Everything kept, no window: the dense model.
Plan dense_plan(const DecoderSpec& spec);
bool is_dense(const Plan& plan, const DecoderSpec& spec);
bool is_compensated(const Plan& plan);

/// UserError naming `where`, the layer and both sizes for a plan that does not fit the model: layer or head counts,
/// neuron indices out of range or unsorted, updates outside heads, an even window, a layer that is not alive before one
/// that is, compensation of another width or where nothing is computed.
void check_plan(const Plan& plan, const DecoderSpec& spec, const std::string& where);

/// Versions 1 and 2. Strict: unknown keys, wrong types and other versions are UserErrors. Does not know the model;
/// follow with check_plan. `folder`: where the vectors of compensation lie.
Plan plan_from_json(const Json& json, const std::string& where, const fs::path& folder = {});
/// Version 2. `vectors`: the name of the file with the compensation, if the plan has any.
Json plan_to_json(const Plan& plan, const std::string& vectors = "");
Plan read_plan(const fs::path& path);
/// Layers one a line: readable diffs. Compensation goes into a file beside it, plan.safetensors for plan.json, which is
/// written first.
void write_plan(const fs::path& path, const Plan& plan);

}  // namespace yopo
