#include "plans/plan.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "plans/layered_json.h"

namespace yopo {
namespace {

constexpr int64_t max_layers = 4096;
constexpr int64_t max_heads = 4096;
constexpr int64_t max_neurons = int64_t(1) << 20;
constexpr int64_t max_window = int64_t(1) << 16;

constexpr std::array<std::pair<Semantics, std::string_view>, 3> semantics_names{
    {{Semantics::Skip, "skip"}, {Semantics::Llava, "llava"}, {Semantics::Qwen2Vl, "qwen2_vl"}}};

int64_t ones(const std::vector<uint8_t>& row) { return std::count(row.begin(), row.end(), uint8_t(1)); }

std::vector<int64_t> counts_of(const HeadMask& mask, int64_t visual_layers) {
  std::vector<int64_t> counts;
  for (size_t layer = 0; layer < mask.size(); ++layer)
    counts.push_back(int64_t(layer) < visual_layers ? ones(mask[layer]) : 0);
  return counts;
}

void check_known(const Json& object, const std::vector<std::string>& known, const std::string& where) {
  require(object.is_object(), "{}: expected an object, found {}", where, object.type_name());
  for (const auto& [key, value] : object.items())
    require(std::find(known.begin(), known.end(), key) != known.end(), "{}: unknown key '{}'{}", where, printable(key),
            did_you_mean(key, known));
}

// Whether a JSON value is an integer in [0, limit), however it was made (parsed text is unsigned, built values may not
// be).
bool is_index(const Json& value, int64_t limit) {
  if (value.is_number_unsigned()) return value.get<uint64_t>() < uint64_t(limit);
  return value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() < limit;
}

// 0 / 1 as integers or booleans.
uint8_t flag_of(const Json& value, const std::string& where, size_t layer, size_t head) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (is_index(value, 2)) return uint8_t(value.get<int64_t>());
  fail("{}: layer {}, head {}: expected 0 or 1, found {}", where, layer, head, printable(value.dump()));
}

HeadMask mask_of(const Json& json, std::string_view key, const std::string& where) {
  const Json& rows = get_array(json, key, where);
  const std::string place = fmt::format("{}: {}", where, key);
  require(int64_t(rows.size()) <= max_layers, "{}: {} layers, at most {} are read", place, rows.size(), max_layers);
  HeadMask mask;
  for (size_t layer = 0; layer < rows.size(); ++layer) {
    const Json& row = rows[layer];
    require(row.is_array(), "{}: layer {}: expected an array of 0 and 1, found {}", place, layer, row.type_name());
    require(int64_t(row.size()) <= max_heads, "{}: layer {}: {} heads, at most {} are read", place, layer, row.size(),
            max_heads);
    std::vector<uint8_t> flags;
    for (size_t head = 0; head < row.size(); ++head) flags.push_back(flag_of(row[head], place, layer, head));
    mask.push_back(std::move(flags));
  }
  return mask;
}

std::vector<std::optional<std::vector<int64_t>>> ffn_of(const Json& json, const std::string& where) {
  const Json& rows = get_array(json, "ffn", where);
  const std::string place = where + ": ffn";
  require(int64_t(rows.size()) <= max_layers, "{}: {} layers, at most {} are read", place, rows.size(), max_layers);
  std::vector<std::optional<std::vector<int64_t>>> sets;
  for (size_t layer = 0; layer < rows.size(); ++layer) {
    const Json& row = rows[layer];
    if (row.is_null()) {
      sets.emplace_back();
      continue;
    }
    require(row.is_array(), "{}: layer {}: expected null or an array of neuron indices, found {}", place, layer,
            row.type_name());
    require(int64_t(row.size()) <= max_neurons, "{}: layer {}: {} neurons, at most {} are read", place, layer,
            row.size(), max_neurons);
    std::vector<int64_t> set;
    for (const Json& value : row) {
      require(is_index(value, max_neurons), "{}: layer {}: expected a neuron index in [0, {}), found {}", place, layer,
              max_neurons, printable(value.dump()));
      const int64_t neuron = value.get<int64_t>();
      require(set.empty() || set.back() < neuron, "{}: layer {}: neuron {} after {}; indices must ascend", place, layer,
              neuron, set.empty() ? 0 : set.back());
      set.push_back(neuron);
    }
    sets.emplace_back(std::move(set));
  }
  return sets;
}

Semantics semantics_of(const std::string& name, const std::string& where) {
  std::vector<std::string> known;
  for (const auto& [semantics, text] : semantics_names) {
    if (text == name) return semantics;
    known.emplace_back(text);
  }
  fail("{}: semantics: unknown '{}'{} (known: {})", where, printable(name), did_you_mean(name, known),
       fmt::join(known, ", "));
}

std::optional<Window> window_of(const Json& json, const std::string& where) {
  if (!has(json, "window")) return std::nullopt;
  const std::string place = where + ": window";
  const Json& object = get_object(json, "window", where);
  check_known(object, {"size", "causal"}, place);
  Window window{.size = get_int(object, "size", place, 1, max_window),
                .causal = get_bool_or(object, "causal", place, false)};
  require(window.size % 2 == 1, "{}: size {} is even; a window reaches equally far both ways and its size is odd",
          place, window.size);
  return window;
}

void check_mask(const HeadMask& mask, std::string_view key, const DecoderSpec& spec, const std::string& where) {
  require(int64_t(mask.size()) == spec.num_hidden_layers, "{}: {}: {} layers, but the model has {}", where, key,
          mask.size(), spec.num_hidden_layers);
  for (size_t layer = 0; layer < mask.size(); ++layer)
    require(int64_t(mask[layer].size()) == spec.num_attention_heads, "{}: {}: layer {}: {} heads, but the model has {}",
            where, key, layer, mask[layer].size(), spec.num_attention_heads);
}

Json mask_to_json(const HeadMask& mask) {
  Json rows = Json::array();
  for (const auto& row : mask) {
    Json flags = Json::array();
    for (uint8_t flag : row) flags.push_back(int(flag));
    rows.push_back(std::move(flags));
  }
  return rows;
}

}  // namespace

std::string_view name_of(Semantics semantics) {
  for (const auto& [value, name] : semantics_names)
    if (value == semantics) return name;
  throw InternalError("a plan's semantics has no name");
}

Semantics parse_semantics(std::string_view name, const std::string& where) {
  return semantics_of(std::string(name), where);
}

std::vector<int64_t> Plan::ffn_counts(int64_t intermediate_size) const {
  std::vector<int64_t> counts;
  for (const auto& set : ffn) counts.push_back(set ? int64_t(set->size()) : intermediate_size);
  return counts;
}

std::vector<int64_t> Plan::head_counts() const { return counts_of(heads, visual_layers); }
std::vector<int64_t> Plan::update_counts() const { return counts_of(updated(), visual_layers); }

Plan dense_plan(const DecoderSpec& spec) {
  Plan plan;
  plan.visual_layers = spec.num_hidden_layers;
  plan.heads.assign(size_t(spec.num_hidden_layers), std::vector<uint8_t>(size_t(spec.num_attention_heads), 1));
  plan.ffn.assign(size_t(spec.num_hidden_layers), std::nullopt);
  return plan;
}

bool is_dense(const Plan& plan, const DecoderSpec& spec) {
  const auto whole = [](const HeadMask& mask) {
    return std::all_of(mask.begin(), mask.end(), [](const auto& row) { return ones(row) == int64_t(row.size()); });
  };
  return !plan.window && plan.visual_layers == spec.num_hidden_layers && whole(plan.heads) && whole(plan.updated()) &&
         std::all_of(plan.ffn.begin(), plan.ffn.end(),
                     [&](const auto& set) { return !set || int64_t(set->size()) == spec.intermediate_size; });
}

void check_plan(const Plan& plan, const DecoderSpec& spec, const std::string& where) {
  require(plan.visual_layers >= 0 && plan.visual_layers <= spec.num_hidden_layers,
          "{}: visual_layers: {} is out of range; the model has {} layers", where, plan.visual_layers,
          spec.num_hidden_layers);
  if (plan.window)
    require(plan.window->size >= 1 && plan.window->size % 2 == 1, "{}: window: size {} is not odd and positive", where,
            plan.window->size);
  check_mask(plan.heads, "heads", spec, where);
  if (plan.updates) {
    check_mask(*plan.updates, "updates", spec, where);
    for (size_t layer = 0; layer < plan.heads.size(); ++layer)
      for (size_t head = 0; head < plan.heads[layer].size(); ++head)
        require(!(*plan.updates)[layer][head] || plan.heads[layer][head],
                "{}: updates: layer {}, head {} is updated, but 'heads' drops it; updates lie within heads", where,
                layer, head);
  }
  require(int64_t(plan.ffn.size()) == spec.num_hidden_layers, "{}: ffn: {} layers, but the model has {}", where,
          plan.ffn.size(), spec.num_hidden_layers);
  for (size_t layer = 0; layer < plan.ffn.size(); ++layer) {
    if (!plan.ffn[layer]) continue;
    int64_t previous = -1;
    for (int64_t neuron : *plan.ffn[layer]) {
      require(neuron >= 0 && neuron < spec.intermediate_size, "{}: ffn: layer {}: neuron {}, but the model has {}",
              where, layer, neuron, spec.intermediate_size);
      require(neuron > previous, "{}: ffn: layer {}: neuron {} after {}; indices must ascend", where, layer, neuron,
              previous);
      previous = neuron;
    }
  }
}

Plan plan_from_json(const Json& json, const std::string& where) {
  require(json.is_object(), "{}: expected a plan object, found {}", where, json.type_name());
  const std::string format = get_string(json, "format", where);
  require(format == "yopo-plan", "{}: format: expected \"yopo-plan\", found \"{}\"", where, printable(format));
  const int64_t version = get_int(json, "version", where, 0, INT64_MAX);
  require(version == 1, "{}: version: this tool reads version 1, found {}", where, version);
  check_known(json,
              {"format", "version", "semantics", "window", "visual_layers", "heads", "updates", "ffn", "provenance"},
              where);
  Plan plan;
  plan.semantics = semantics_of(get_string(json, "semantics", where), where);
  plan.window = window_of(json, where);
  plan.heads = mask_of(json, "heads", where);
  require(!plan.heads.empty(), "{}: heads: no layers", where);
  if (has(json, "updates")) plan.updates = mask_of(json, "updates", where);
  plan.ffn = ffn_of(json, where);
  plan.visual_layers = get_int(json, "visual_layers", where, 0, plan.layers());
  if (has(json, "provenance")) plan.provenance = get_object(json, "provenance", where);
  require(plan.ffn.size() == plan.heads.size(), "{}: ffn: {} layers, but heads has {}", where, plan.ffn.size(),
          plan.heads.size());
  require(!plan.updates || plan.updates->size() == plan.heads.size(), "{}: updates: {} layers, but heads has {}", where,
          plan.updates ? plan.updates->size() : 0, plan.heads.size());
  return plan;
}

Json plan_to_json(const Plan& plan) {
  Json json = Json::object();
  json["format"] = "yopo-plan";
  json["version"] = 1;
  json["semantics"] = name_of(plan.semantics);
  json["window"] = window_to_json(plan.window);
  json["visual_layers"] = plan.visual_layers;
  json["heads"] = mask_to_json(plan.heads);
  if (plan.updates) json["updates"] = mask_to_json(*plan.updates);
  json["ffn"] = Json::array();
  for (const auto& set : plan.ffn) json["ffn"].push_back(set ? Json(*set) : Json());
  json["provenance"] = plan.provenance;
  return json;
}

Json window_to_json(const std::optional<Window>& window) {
  if (!window) return nullptr;
  Json json = Json::object();
  json["size"] = window->size;
  json["causal"] = window->causal;
  return json;
}

std::optional<Window> window_from_json(const Json& parent, const std::string& where) {
  return window_of(parent, where);
}

Plan read_plan(const fs::path& path) { return plan_from_json(read_json(path), path.string()); }

void write_plan(const fs::path& path, const Plan& plan) { write_text(path, layered_text(plan_to_json(plan)) + "\n"); }

}  // namespace yopo
