#include "plans/pruned_config.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "plans/compensation.h"
#include "plans/layer_json.h"

namespace yopo {
namespace {

/// Kept heads of each KV group of one layer, [num_key_value_heads]; the kept ones must be the first of their group.
Json group_counts(const HeadFlags& row, const DecoderSpec& spec) {
  Json counts = Json::array();
  const int64_t group = spec.group_size();
  for (int64_t kv = 0; kv < spec.num_key_value_heads; ++kv) {
    int64_t kept = 0;
    for (int64_t i = 0; i < group; ++i) {
      const bool keep = row[size_t(kv * group + i)] != 0;
      ensure(!keep || kept == i, "pruned_config: the plan is not in the checkpoint's new order");
      kept += keep;
    }
    counts.push_back(kept);
  }
  return counts;
}

HeadFlags flags_of_counts(const Json& row, const DecoderSpec& spec, const std::string& place) {
  require(row.is_array() && int64_t(row.size()) == spec.num_key_value_heads,
          "{}: expected one count for each of {} KV heads, found {}", place, spec.num_key_value_heads,
          printable(row.dump()));
  HeadFlags flags(size_t(spec.num_attention_heads), 0);
  for (size_t kv = 0; kv < row.size(); ++kv) {
    const Json& value = row[kv];
    require(value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(spec.group_size()),
            "{}, KV head {}: expected a count in [0, {}], found {}", place, kv, spec.group_size(),
            printable(value.dump()));
    std::fill_n(flags.begin() + int64_t(kv) * spec.group_size(), value.get<int64_t>(), uint8_t(1));
  }
  return flags;
}

/// null: all.
std::optional<Neurons> first_neurons(const Json& value, const DecoderSpec& spec, const std::string& place) {
  if (value.is_null()) return std::nullopt;
  require(value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(spec.intermediate_size),
          "{}: expected null or a count in [0, {}], found {}", place, spec.intermediate_size, printable(value.dump()));
  Neurons first(value.get<size_t>());
  std::iota(first.begin(), first.end(), int64_t(0));
  return first;
}

const Json& layers_of(const Json& object, std::string_view key, const DecoderSpec& spec, const std::string& where) {
  const Json& rows = get_array(object, key, where);
  require(int64_t(rows.size()) == spec.num_hidden_layers, "{}: {}: {} layers, but the model has {}", where, key,
          rows.size(), spec.num_hidden_layers);
  return rows;
}

void read_version_2(const Json& object, const DecoderSpec& spec, const std::string& where, Plan& plan) {
  check_known(object, {"format", "version", "layers", "compensation", "provenance"}, where);
  const Json& layers = layers_of(object, "layers", spec, where);
  for (size_t l = 0; l < layers.size(); ++l) {
    const std::string place = fmt::format("{}: layer {}", where, l);
    const Json& row = layers[l];
    check_known(row, {"alive", "window", "heads", "updates", "neurons", "compensation"}, place);
    LayerPlan& layer = plan.layers[l];
    layer.alive = get_bool_or(row, "alive", place, true);
    layer.window = window_from_json(row, place);
    if (has(row, "heads")) layer.heads = layer.updates = flags_of_counts(row.at("heads"), spec, place + ": heads");
    if (has(row, "updates")) layer.updates = flags_of_counts(row.at("updates"), spec, place + ": updates");
    if (has(row, "neurons")) layer.neurons = first_neurons(row.at("neurons"), spec, place + ": neurons");
    layer_compensation_from_json(row, place, layer);
  }
}

void read_version_1(const Json& object, const DecoderSpec& spec, const std::string& where, Plan& plan) {
  check_known(object, {"format", "version", "window", "visual_layers", "heads", "updates", "ffn", "provenance"}, where);
  set_window(plan, window_from_json(object, where));
  set_visual_layers(plan, get_int(object, "visual_layers", where, 0, spec.num_hidden_layers));
  const Json &heads = layers_of(object, "heads", spec, where), &ffn = layers_of(object, "ffn", spec, where);
  const Json& updates = has(object, "updates") ? layers_of(object, "updates", spec, where) : heads;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const auto place = [&](std::string_view key) { return fmt::format("{}: {}: layer {}", where, key, l); };
    plan.layers[l].heads = flags_of_counts(heads[l], spec, place("heads"));
    plan.layers[l].updates = flags_of_counts(updates[l], spec, place("updates"));
    plan.layers[l].neurons = first_neurons(ffn[l], spec, place("ffn"));
  }
}

Json layer_to_json(const LayerPlan& layer, const DecoderSpec& spec) {
  const HeadFlags whole(size_t(spec.num_attention_heads), 1);
  Json json = Json::object();
  if (!layer.alive) json["alive"] = false;
  if (layer.window) json["window"] = window_to_json(layer.window);
  if (layer.heads != whole) json["heads"] = group_counts(layer.heads, spec);
  if (layer.updates != layer.heads) json["updates"] = group_counts(layer.updates, spec);
  if (layer.neurons) {
    ensure(layer.neurons->empty() || layer.neurons->back() + 1 == int64_t(layer.neurons->size()),
           "pruned_config: the plan is not in the checkpoint's new order");
    json["neurons"] = layer.neurons->size();
  }
  layer_compensation_to_json(layer, json);
  return json;
}

}  // namespace

Json pruned_config(const Plan& plan, const DecoderSpec& spec) {
  check_plan(plan, spec, "pruned_config");
  ensure(plan.semantics == Semantics::Skip, "pruned_config: only 'skip' plans are exported");
  Json json = Json::object();
  json["format"] = "yopo-pruned";
  json["version"] = 2;
  json["layers"] = Json::array();
  for (const LayerPlan& layer : plan.layers) json["layers"].push_back(layer_to_json(layer, spec));
  if (is_compensated(plan)) json["compensation"] = compensation_to_json(plan, compensation_name);
  json["provenance"] = plan.provenance;
  return json;
}

std::optional<Plan> plan_of_checkpoint(const Checkpoint& checkpoint, const DecoderSpec& spec) {
  if (!has(checkpoint.config(), "yopo")) return std::nullopt;
  const std::string file = (checkpoint.folder() / "config.json").string();
  const std::string where = file + ": yopo";
  const Json& object = get_object(checkpoint.config(), "yopo", file);
  const std::string format = get_string(object, "format", where);
  require(format == "yopo-pruned", "{}: format: expected \"yopo-pruned\", found \"{}\"", where, printable(format));
  const int64_t version = get_int(object, "version", where, 0, INT64_MAX);
  require(version == 1 || version == 2, "{}: version: this tool reads versions 1 and 2, found {}", where, version);
  Plan plan = dense_plan(spec);
  version == 1 ? read_version_1(object, spec, where, plan) : read_version_2(object, spec, where, plan);
  if (version == 2) read_compensation(object, where, checkpoint.folder(), plan);
  if (has(object, "provenance")) plan.provenance = get_object(object, "provenance", where);
  check_plan(plan, spec, where);
  return plan;
}

}  // namespace yopo
