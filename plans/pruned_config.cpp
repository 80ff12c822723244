#include "plans/pruned_config.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "plans/compensation.h"
#include "plans/layer_json.h"

namespace yopo {
namespace {

/// Kept heads of each KV group of one layer, [num_key_value_heads]; the kept ones must be the first of their group, or
/// with `flags` a group of others has a flag a head.
Json group_counts(const HeadFlags& row, const DecoderSpec& spec, bool flags) {
  Json counts = Json::array();
  const int64_t group = spec.group_size();
  for (int64_t kv = 0; kv < spec.num_key_value_heads; ++kv) {
    const HeadFlags own(row.begin() + kv * group, row.begin() + (kv + 1) * group);
    const bool first = std::is_sorted(own.begin(), own.end(), std::greater<>());
    ensure(first || flags, "pruned_config: the plan is not in the checkpoint's new order");
    counts.push_back(first ? Json(std::count(own.begin(), own.end(), uint8_t(1))) : flags_to_json(own));
  }
  return counts;
}

HeadFlags flags_of_counts(const Json& row, const DecoderSpec& spec, const std::string& place, bool flags) {
  require(row.is_array() && int64_t(row.size()) == spec.num_key_value_heads,
          "{}: expected one count for each of {} KV heads, found {}", place, spec.num_key_value_heads,
          printable(row.dump()));
  HeadFlags kept(size_t(spec.num_attention_heads), 0);
  for (size_t kv = 0; kv < row.size(); ++kv) {
    const Json& value = row[kv];
    const auto first = kept.begin() + int64_t(kv) * spec.group_size();
    const std::string head = fmt::format("{}, KV head {}", place, kv);
    if (flags && value.is_array()) {
      const HeadFlags own = flags_from_json(value, head);
      require(int64_t(own.size()) == spec.group_size(), "{}: {} flags for {} heads", head, own.size(),
              spec.group_size());
      std::copy(own.begin(), own.end(), first);
      continue;
    }
    require(value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(spec.group_size()),
            "{}: expected a count in [0, {}], found {}", head, spec.group_size(), printable(value.dump()));
    std::fill_n(first, value.get<int64_t>(), uint8_t(1));
  }
  return kept;
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

/// `flags`: heads of a group need not be its first.
void read_layers(const Json& object, const DecoderSpec& spec, const std::string& where, bool flags, Plan& plan) {
  const Json& layers = layers_of(object, "layers", spec, where);
  for (size_t l = 0; l < layers.size(); ++l) {
    const std::string place = fmt::format("{}: layer {}", where, l);
    const Json& row = layers[l];
    check_known(row, {"alive", "window", "heads", "updates", "neurons", "compensation"}, place);
    LayerPlan& layer = plan.layers[l];
    layer.alive = get_bool_or(row, "alive", place, true);
    layer.window = window_from_json(row, place);
    if (has(row, "heads"))
      layer.heads = layer.updates = flags_of_counts(row.at("heads"), spec, place + ": heads", flags);
    if (has(row, "updates")) layer.updates = flags_of_counts(row.at("updates"), spec, place + ": updates", flags);
    if (has(row, "neurons")) layer.neurons = first_neurons(row.at("neurons"), spec, place + ": neurons");
    layer_compensation_from_json(row, place, layer);
  }
}

void read_version_2(const Json& object, const DecoderSpec& spec, const std::string& where, const fs::path& folder,
                    Plan& plan) {
  check_known(object, {"format", "version", "layers", "compensation", "provenance"}, where);
  read_layers(object, spec, where, false, plan);
  read_compensation(object, where, folder, plan);
}

void read_version_1(const Json& object, const DecoderSpec& spec, const std::string& where, Plan& plan) {
  check_known(object, {"format", "version", "window", "visual_layers", "heads", "updates", "ffn", "provenance"}, where);
  set_window(plan, window_from_json(object, where));
  set_visual_layers(plan, get_int(object, "visual_layers", where, 0, spec.num_hidden_layers));
  const Json &heads = layers_of(object, "heads", spec, where), &ffn = layers_of(object, "ffn", spec, where);
  const Json& updates = has(object, "updates") ? layers_of(object, "updates", spec, where) : heads;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const auto place = [&](std::string_view key) { return fmt::format("{}: {}: layer {}", where, key, l); };
    plan.layers[l].heads = flags_of_counts(heads[l], spec, place("heads"), false);
    plan.layers[l].updates = flags_of_counts(updates[l], spec, place("updates"), false);
    plan.layers[l].neurons = first_neurons(ffn[l], spec, place("ffn"));
  }
}

Json layer_to_json(const LayerPlan& layer, const DecoderSpec& spec, bool flags) {
  const HeadFlags whole(size_t(spec.num_attention_heads), 1);
  Json json = Json::object();
  if (!layer.alive) json["alive"] = false;
  if (layer.window) json["window"] = window_to_json(layer.window);
  if (layer.heads != whole) json["heads"] = group_counts(layer.heads, spec, flags);
  if (layer.updates != layer.heads) json["updates"] = group_counts(layer.updates, spec, flags);
  if (layer.neurons) {
    ensure(layer.neurons->empty() || layer.neurons->back() + 1 == int64_t(layer.neurons->size()),
           "pruned_config: the plan is not in the checkpoint's new order");
    json["neurons"] = layer.neurons->size();
  }
  layer_compensation_to_json(layer, json);
  return json;
}

/// {"layers", "compensation"} into `json`.
void add_plan(const Plan& plan, const DecoderSpec& spec, bool flags, Json& json) {
  check_plan(plan, spec, "pruned_config");
  ensure(plan.semantics == Semantics::Skip, "pruned_config: only 'skip' plans are exported");
  json["layers"] = Json::array();
  for (const LayerPlan& layer : plan.layers) json["layers"].push_back(layer_to_json(layer, spec, flags));
  if (is_compensated(plan)) json["compensation"] = compensation_to_json(plan, compensation_name);
}

Json versioned(int version) {
  Json json = Json::object();
  json["format"] = "yopo-pruned";
  json["version"] = version;
  return json;
}

/// The runtime takes leading KV heads and neurons.
void check_prefixes(const Plan& plan, const DecoderSpec& spec, const std::string& where) {
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const LayerPlan& layer = plan.layers[l];
    if (!layer.alive) continue;
    const auto used = layer_counts(layer, spec).kv_heads * spec.group_size();
    require(std::none_of(layer.heads.begin() + used, layer.heads.end(), [](uint8_t flag) { return flag != 0; }),
            "{}: layer {}: heads: KV heads without a kept head stand before others", where, l);
  }
}

/// The "yopo" object, where there is one, and where it stands.
struct Found {
  const Json* object = nullptr;
  std::string where;
  int64_t version = 0;
};
Found yopo_of(const Checkpoint& checkpoint) {
  if (!has(checkpoint.config(), "yopo")) return {};
  const std::string file = (checkpoint.folder() / "config.json").string();
  Found found{&get_object(checkpoint.config(), "yopo", file), file + ": yopo"};
  const std::string format = get_string(*found.object, "format", found.where);
  require(format == "yopo-pruned", "{}: format: expected \"yopo-pruned\", found \"{}\"", found.where,
          printable(format));
  found.version = get_int(*found.object, "version", found.where, 0, INT64_MAX);
  require(found.version >= 1 && found.version <= 3, "{}: version: this tool reads versions 1 to 3, found {}",
          found.where, found.version);
  return found;
}

CheckpointBudgets budgets_in(const Found& found) {
  const Json& plans = get_object(*found.object, "plans", found.where);
  require(!plans.empty() && plans.size() <= most_budgets, "{}: plans: expected 1 to {} budgets, found {}", found.where,
          most_budgets, plans.size());
  CheckpointBudgets budgets;
  for (const auto& [name, plan] : plans.items()) budgets.names.push_back(exact_budget(name, found.where + ": plans"));
  std::sort(budgets.names.begin(), budgets.names.end(), larger_budget);
  budgets.fallback = get_string(*found.object, "default", found.where);
  require(std::find(budgets.names.begin(), budgets.names.end(), budgets.fallback) != budgets.names.end(),
          "{}: default: '{}' is none of the plans' budgets ({})", found.where, printable(budgets.fallback),
          fmt::join(budgets.names, ", "));
  return budgets;
}

Plan elastic_plan(const Found& found, const Checkpoint& checkpoint, const DecoderSpec& spec, const std::string& asked) {
  check_known(*found.object, {"format", "version", "default", "plans", "provenance"}, found.where);
  const CheckpointBudgets budgets = budgets_in(found);
  const std::string budget =
      asked.empty() ? budgets.fallback : pick_budget(budgets.names, asked, checkpoint.folder().string());
  const Json& objects = (*found.object)["plans"];
  std::vector<BudgetPlan> plans;
  std::vector<const Json*> parents;
  for (const std::string& name : budgets.names) {
    const std::string where = fmt::format("{}: budget {}", found.where, name);
    parents.push_back(&get_object(objects, name, found.where + ": plans"));
    check_known(*parents.back(), {"layers", "compensation"}, where);
    plans.push_back({name, dense_plan(spec)});
    read_layers(*parents.back(), spec, where, true, plans.back().plan);
    check_prefixes(plans.back().plan, spec, where);
  }
  read_compensation(parents, found.where, checkpoint.folder(), spec.hidden_size, plans, budget);
  const auto chosen = std::find_if(plans.begin(), plans.end(), [&](const BudgetPlan& p) { return p.budget == budget; });
  Plan plan = std::move(chosen->plan);
  if (has(*found.object, "provenance")) {
    plan.provenance = get_object(*found.object, "provenance", found.where);
    if (has(plan.provenance, "made_by") && has(plan.provenance["made_by"], budget))
      plan.provenance["made_by"] = Json(plan.provenance["made_by"][budget]);
  }
  check_plan(plan, spec, fmt::format("{}: budget {}", found.where, budget));
  return plan;
}

}  // namespace

Json pruned_config(const Plan& plan, const DecoderSpec& spec) {
  Json json = versioned(2);
  add_plan(plan, spec, false, json);
  json["provenance"] = plan.provenance;
  return json;
}

Json elastic_config(const std::vector<BudgetPlan>& plans, const std::string& fallback, const DecoderSpec& spec,
                    const Json& provenance) {
  Json json = versioned(3);
  json["default"] = fallback;
  json["plans"] = Json::object();
  for (const BudgetPlan& one : plans) {
    Json& own = json["plans"][one.budget] = Json::object();
    add_plan(one.plan, spec, true, own);
  }
  json["provenance"] = provenance;
  return json;
}

CheckpointBudgets budgets_of_checkpoint(const Checkpoint& checkpoint) {
  const Found found = yopo_of(checkpoint);
  return found.version == 3 ? budgets_in(found) : CheckpointBudgets();
}

std::optional<Plan> plan_of_checkpoint(const Checkpoint& checkpoint, const DecoderSpec& spec,
                                       const std::string& budget) {
  const Found found = yopo_of(checkpoint);
  const std::string folder = checkpoint.folder().string();
  if (!found.object) {
    require(budget.empty(), "{}: has no plans, so there is none for budget {}", folder, printable(budget));
    return std::nullopt;
  }
  if (found.version == 3) return elastic_plan(found, checkpoint, spec, budget);
  const Json& object = *found.object;
  Plan plan = dense_plan(spec);
  if (found.version == 1)
    read_version_1(object, spec, found.where, plan);
  else
    read_version_2(object, spec, found.where, checkpoint.folder(), plan);
  if (has(object, "provenance")) plan.provenance = get_object(object, "provenance", found.where);
  check_plan(plan, spec, found.where);
  if (!budget.empty()) {
    const std::string own = budget_of(plan);
    require(!own.empty(), "{}: holds one plan, which was not made for a budget; run it without one", folder);
    (void)pick_budget({own}, budget, folder);
  }
  return plan;
}

}  // namespace yopo
