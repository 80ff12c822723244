#include "plans/pruned_config.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace yopo {
namespace {

std::vector<int64_t> iota(int64_t count) {
  std::vector<int64_t> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), int64_t(0));
  return values;
}

bool is_iota(const std::vector<int64_t>& values) {
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] != int64_t(i)) return false;
  return true;
}

// Kept heads of each KV group of one layer, [num_key_value_heads]; the kept ones must be the first of their group.
Json group_counts(const std::vector<uint8_t>& row, const DecoderSpec& spec) {
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

HeadMask mask_of_counts(const Json& object, std::string_view key, const DecoderSpec& spec, const std::string& where) {
  const Json& rows = get_array(object, key, where);
  require(int64_t(rows.size()) == spec.num_hidden_layers, "{}: {}: {} layers, but the model has {}", where, key,
          rows.size(), spec.num_hidden_layers);
  HeadMask mask;
  for (size_t layer = 0; layer < rows.size(); ++layer) {
    const Json& row = rows[layer];
    require(row.is_array() && int64_t(row.size()) == spec.num_key_value_heads,
            "{}: {}: layer {}: expected one count for each of {} KV heads, found {}", where, key, layer,
            spec.num_key_value_heads, printable(row.dump()));
    std::vector<uint8_t> flags(size_t(spec.num_attention_heads), 0);
    for (size_t kv = 0; kv < row.size(); ++kv) {
      const Json& value = row[kv];
      require(value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(spec.group_size()),
              "{}: {}: layer {}, KV head {}: expected a count in [0, {}], found {}", where, key, layer, kv,
              spec.group_size(), printable(value.dump()));
      std::fill_n(flags.begin() + int64_t(kv) * spec.group_size(), value.get<int64_t>(), uint8_t(1));
    }
    mask.push_back(std::move(flags));
  }
  return mask;
}

}  // namespace

Json pruned_config(const Plan& plan, const DecoderSpec& spec) {
  check_plan(plan, spec, "pruned_config");
  ensure(plan.semantics == Semantics::Skip, "pruned_config: only 'skip' plans are exported");
  Json json = Json::object();
  json["format"] = "yopo-pruned";
  json["version"] = 1;
  json["window"] = window_to_json(plan.window);
  json["visual_layers"] = plan.visual_layers;
  json["heads"] = Json::array();
  for (const auto& row : plan.heads) json["heads"].push_back(group_counts(row, spec));
  if (plan.updates) {
    json["updates"] = Json::array();
    for (const auto& row : *plan.updates) json["updates"].push_back(group_counts(row, spec));
  }
  json["ffn"] = Json::array();
  for (const auto& set : plan.ffn) {
    ensure(!set || is_iota(*set), "pruned_config: the plan is not in the checkpoint's new order");
    json["ffn"].push_back(set ? Json(set->size()) : Json());
  }
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
  require(version == 1, "{}: version: this tool reads version 1, found {}", where, version);
  const std::vector<std::string> known{"format", "version", "window", "visual_layers",
                                       "heads",  "updates", "ffn",    "provenance"};
  for (const auto& [key, value] : object.items())
    require(std::find(known.begin(), known.end(), key) != known.end(), "{}: unknown key '{}'{}", where, printable(key),
            did_you_mean(key, known));

  Plan plan;
  plan.window = window_from_json(object, where);
  plan.visual_layers = get_int(object, "visual_layers", where, 0, spec.num_hidden_layers);
  plan.heads = mask_of_counts(object, "heads", spec, where);
  if (has(object, "updates")) plan.updates = mask_of_counts(object, "updates", spec, where);
  const Json& counts = get_array(object, "ffn", where);
  for (size_t layer = 0; layer < counts.size(); ++layer) {
    const Json& value = counts[layer];
    if (value.is_null()) {
      plan.ffn.emplace_back();
      continue;
    }
    require(value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(spec.intermediate_size),
            "{}: ffn: layer {}: expected null or a count in [0, {}], found {}", where, layer, spec.intermediate_size,
            printable(value.dump()));
    plan.ffn.emplace_back(iota(value.get<int64_t>()));
  }
  if (has(object, "provenance")) plan.provenance = get_object(object, "provenance", where);
  check_plan(plan, spec, where);
  return plan;
}

bool LayerOrder::identity() const { return is_iota(kv_heads) && is_iota(heads) && is_iota(neurons); }

std::vector<LayerOrder> orders_of(const Plan& plan, const DecoderSpec& spec) {
  check_plan(plan, spec, "orders_of");
  const int64_t group = spec.group_size();
  std::vector<LayerOrder> orders;
  for (size_t layer = 0; layer < plan.heads.size(); ++layer) {
    const std::vector<uint8_t>&kept = plan.heads[layer], &updated = plan.updated()[layer];
    LayerOrder order{.kv_heads = iota(spec.num_key_value_heads), .heads = {}, .neurons = iota(spec.intermediate_size)};
    const auto group_count = [&](const std::vector<uint8_t>& row, int64_t kv) {
      return std::count(row.begin() + kv * group, row.begin() + (kv + 1) * group, uint8_t(1));
    };
    std::stable_sort(order.kv_heads.begin(), order.kv_heads.end(), [&](int64_t a, int64_t b) {
      return std::pair(group_count(updated, a), group_count(kept, a)) >
             std::pair(group_count(updated, b), group_count(kept, b));
    });
    for (int64_t kv : order.kv_heads) {
      const auto first = order.heads.insert(order.heads.end(), size_t(group), 0);
      std::iota(first, order.heads.end(), kv * group);
      std::stable_sort(first, order.heads.end(), [&](int64_t a, int64_t b) {
        return updated[size_t(a)] + kept[size_t(a)] > updated[size_t(b)] + kept[size_t(b)];
      });
    }
    if (plan.ffn[layer]) {
      std::vector<uint8_t> flags(size_t(spec.intermediate_size), 0);
      for (int64_t neuron : *plan.ffn[layer]) flags[size_t(neuron)] = 1;
      std::stable_partition(order.neurons.begin(), order.neurons.end(),
                            [&](int64_t n) { return flags[size_t(n)] != 0; });
    }
    orders.push_back(std::move(order));
  }
  return orders;
}

Plan reorder_plan(const Plan& plan, const DecoderSpec& spec, const std::vector<LayerOrder>& orders) {
  check_plan(plan, spec, "reorder_plan");
  ensure(int64_t(orders.size()) == spec.num_hidden_layers, "reorder_plan: one order a layer");
  Plan result = plan;
  for (size_t layer = 0; layer < orders.size(); ++layer) {
    const LayerOrder& order = orders[layer];
    ensure(int64_t(order.heads.size()) == spec.num_attention_heads &&
               int64_t(order.neurons.size()) == spec.intermediate_size,
           "reorder_plan: an order as wide as the model");
    for (size_t i = 0; i < order.heads.size(); ++i) {
      result.heads[layer][i] = plan.heads[layer][size_t(order.heads[i])];
      if (plan.updates) (*result.updates)[layer][i] = (*plan.updates)[layer][size_t(order.heads[i])];
    }
    if (!plan.ffn[layer]) continue;
    std::vector<uint8_t> flags(size_t(spec.intermediate_size), 0);
    for (int64_t neuron : *plan.ffn[layer]) flags[size_t(neuron)] = 1;
    result.ffn[layer]->clear();
    for (size_t i = 0; i < order.neurons.size(); ++i)
      if (flags[size_t(order.neurons[i])]) result.ffn[layer]->push_back(int64_t(i));
  }
  return result;
}

}  // namespace yopo
