// plan.json: version 2 holds one object a layer, version 1 held one array for each kind of saving.
#include "core/error.h"
#include "plans/compensation.h"
#include "plans/layer_json.h"
#include "plans/layered_json.h"
#include "plans/plan.h"

namespace yopo {
namespace {

const Json& layers_of(const Json& json, std::string_view key, const std::string& where) {
  const Json& rows = get_array(json, key, where);
  require(int64_t(rows.size()) <= most_plan_layers, "{}: {}: {} layers, at most {} are read", where, key, rows.size(),
          most_plan_layers);
  return rows;
}

LayerPlan layer_of(const Json& json, const std::string& place) {
  check_known(json, {"alive", "window", "heads", "updates", "neurons", "compensation"}, place);
  LayerPlan layer;
  layer.alive = get_bool_or(json, "alive", place, true);
  layer.window = window_from_json(json, place);
  layer.heads = layer.updates = flags_from_json(get_array(json, "heads", place), place + ": heads");
  if (has(json, "updates")) layer.updates = flags_from_json(json.at("updates"), place + ": updates");
  require(layer.updates.size() == layer.heads.size(), "{}: updates: {} heads, but heads has {}", place,
          layer.updates.size(), layer.heads.size());
  if (has(json, "neurons")) layer.neurons = neurons_from_json(json.at("neurons"), place + ": neurons");
  layer_compensation_from_json(json, place, layer);
  return layer;
}

void read_version_2(const Json& json, const std::string& where, const fs::path& folder, Plan& plan) {
  check_known(json, {"format", "version", "semantics", "layers", "compensation", "provenance"}, where);
  const Json& layers = layers_of(json, "layers", where);
  for (size_t l = 0; l < layers.size(); ++l)
    plan.layers.push_back(layer_of(layers[l], fmt::format("{}: layer {}", where, l)));
  read_compensation(json, where, folder, plan);
}

void read_version_1(const Json& json, const std::string& where, Plan& plan) {
  check_known(json,
              {"format", "version", "semantics", "window", "visual_layers", "heads", "updates", "ffn", "provenance"},
              where);
  const std::optional<Window> window = window_from_json(json, where);
  const Json &heads = layers_of(json, "heads", where), &ffn = layers_of(json, "ffn", where);
  const int64_t alive = get_int(json, "visual_layers", where, 0, int64_t(heads.size()));
  require(ffn.size() == heads.size(), "{}: ffn: {} layers, but heads has {}", where, ffn.size(), heads.size());
  const Json* updates = has(json, "updates") ? &layers_of(json, "updates", where) : nullptr;
  require(!updates || updates->size() == heads.size(), "{}: updates: {} layers, but heads has {}", where,
          updates ? updates->size() : 0, heads.size());
  for (size_t l = 0; l < heads.size(); ++l) {
    const auto place = [&](std::string_view key) { return fmt::format("{}: {}: layer {}", where, key, l); };
    LayerPlan& layer = plan.layers.emplace_back();
    layer.window = window;
    layer.heads = layer.updates = flags_from_json(heads[l], place("heads"));
    if (updates) layer.updates = flags_from_json((*updates)[l], place("updates"));
    require(layer.updates.size() == layer.heads.size(), "{}: {} heads, but heads has {}", place("updates"),
            layer.updates.size(), layer.heads.size());
    layer.neurons = neurons_from_json(ffn[l], place("ffn"));
    layer.alive = int64_t(l) < alive;
  }
}

Json layer_to_json(const LayerPlan& layer) {
  Json json = Json::object();
  if (!layer.alive) json["alive"] = false;
  if (layer.window) json["window"] = window_to_json(layer.window);
  json["heads"] = flags_to_json(layer.heads);
  if (layer.updates != layer.heads) json["updates"] = flags_to_json(layer.updates);
  if (layer.neurons) json["neurons"] = *layer.neurons;
  layer_compensation_to_json(layer, json);
  return json;
}

}  // namespace

Plan plan_from_json(const Json& json, const std::string& where, const fs::path& folder) {
  require(json.is_object(), "{}: expected a plan object, found {}", where, json.type_name());
  const std::string format = get_string(json, "format", where);
  require(format == "yopo-plan", "{}: format: expected \"yopo-plan\", found \"{}\"", where, printable(format));
  const int64_t version = get_int(json, "version", where, 0, INT64_MAX);
  require(version == 1 || version == 2, "{}: version: this tool reads versions 1 and 2, found {}", where, version);
  Plan plan;
  plan.semantics = parse_semantics(get_string(json, "semantics", where), where);
  version == 1 ? read_version_1(json, where, plan) : read_version_2(json, where, folder, plan);
  require(!plan.layers.empty(), "{}: {}: no layers", where, version == 1 ? "heads" : "layers");
  if (has(json, "provenance")) plan.provenance = get_object(json, "provenance", where);
  return plan;
}

Json plan_to_json(const Plan& plan, const std::string& vectors) {
  Json json = Json::object();
  json["format"] = "yopo-plan";
  json["version"] = 2;
  json["semantics"] = name_of(plan.semantics);
  json["layers"] = Json::array();
  for (const LayerPlan& layer : plan.layers) json["layers"].push_back(layer_to_json(layer));
  if (is_compensated(plan)) json["compensation"] = compensation_to_json(plan, vectors);
  json["provenance"] = plan.provenance;
  return json;
}

Plan read_plan(const fs::path& path) {
  return plan_from_json(read_json(path), path.string(), fs::absolute(path).parent_path());
}

void write_plan(const fs::path& path, const Plan& plan) {
  const std::string vectors = path.stem().string() + ".safetensors";
  if (is_compensated(plan)) write_compensation(path.parent_path() / vectors, plan);
  write_text(path, layered_text(plan_to_json(plan, vectors)) + "\n");
}

}  // namespace yopo
