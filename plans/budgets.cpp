#include "plans/budgets.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "core/error.h"
#include "core/values.h"

namespace yopo {
namespace {

/// 1 for every KV head with a kept head, [num_key_value_heads].
std::vector<uint8_t> kept_groups(const LayerPlan& layer, const DecoderSpec& spec) {
  std::vector<uint8_t> kept(size_t(spec.num_key_value_heads), 0);
  for (size_t head = 0; head < layer.heads.size(); ++head)
    if (layer.heads[head]) kept[head / size_t(spec.group_size())] = 1;
  return kept;
}

/// 1 for every neuron that visual rows use, [intermediate_size].
std::vector<uint8_t> kept_neurons(const LayerPlan& layer, const DecoderSpec& spec) {
  std::vector<uint8_t> kept(size_t(spec.intermediate_size), layer.neurons ? 0 : 1);
  if (layer.neurons)
    for (const int64_t neuron : *layer.neurons) kept[size_t(neuron)] = 1;
  return kept;
}

/// Whether one of the two sets holds the other.
bool nested(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  bool only_a = false, only_b = false;
  for (size_t i = 0; i < a.size(); ++i) {
    only_a = only_a || (a[i] && !b[i]);
    only_b = only_b || (b[i] && !a[i]);
  }
  return !only_a || !only_b;
}

/// UserError for the first two plans whose sets, one a plan, are not nested.
void check_nested(const std::vector<std::pair<std::string, std::vector<uint8_t>>>& sets, const std::string& place,
                  const char* what) {
  for (size_t i = 0; i < sets.size(); ++i)
    for (size_t j = i + 1; j < sets.size(); ++j)
      require(nested(sets[i].second, sets[j].second),
              "{}: the plans of budgets {} and {} keep {} that no common order serves (neither set holds the other); "
              "search for them together (export.budgets in a recipe)",
              place, sets[i].first, sets[j].first, what);
}

}  // namespace

std::string budget_name(double budget) { return fmt::format("{}", budget); }

std::string budget_name(const Budget& budget) {
  return budget.kind == Budget::Kind::Flops ? budget_name(budget.value) : "";
}

std::string parse_budget(std::string_view text, const std::string& where) {
  double value = 0;
  require(parse_decimal(text, value) && value > 0 && value <= 1,
          "{}: expected a budget above 0 and at most 1, as 0.25; found '{}'", where, printable(text));
  return budget_name(value);
}

std::string exact_budget(const std::string& text, const std::string& where) {
  const std::string name = parse_budget(text, where);
  require(name == text, "{}: budget '{}' should be written as {}", where, printable(text), name);
  return name;
}

bool larger_budget(const std::string& a, const std::string& b) {
  double left = 0, right = 0;
  (void)parse_decimal(a, left), (void)parse_decimal(b, right);
  return left > right;
}

std::string pick_budget(const std::vector<std::string>& names, const std::string& asked, const std::string& where) {
  const std::string name = parse_budget(asked, where);
  require(std::find(names.begin(), names.end(), name) != names.end(), "{}: no plan for budget {}; there {} {}", where,
          name, names.size() == 1 ? "is" : "are", fmt::join(names, ", "));
  return name;
}

std::vector<std::string> names_of(const std::vector<BudgetPlan>& plans) {
  std::vector<std::string> names;
  for (const BudgetPlan& one : plans) names.push_back(one.budget);
  return names;
}

std::string budget_of(const Plan& plan) {
  const Json& made = has(plan.provenance, "made_by") ? plan.provenance["made_by"] : plan.provenance;
  if (!made.is_object() || !has(made, "search") || !made["search"].is_object()) return "";
  const Json& search = made["search"];
  if (!has(search, "budget") || !search["budget"].is_number()) return "";
  const auto budget = search["budget"].get<double>();
  return budget > 0 && budget <= 1 ? budget_name(budget) : "";
}

LayerOrder order_of(const std::vector<const LayerPlan*>& layers, const DecoderSpec& spec) {
  const auto group = size_t(spec.group_size());
  // How many of the plans use each.
  std::vector<int64_t> kept(size_t(spec.num_attention_heads), 0), updated = kept;
  std::vector<int64_t> groups(size_t(spec.num_key_value_heads), 0), kept_in = groups, updated_in = groups;
  std::vector<int64_t> neurons(size_t(spec.intermediate_size), 0);
  for (const LayerPlan* layer : layers) {
    for (size_t kv = 0; kv < groups.size(); ++kv) {
      bool any = false;
      for (size_t head = kv * group; head < (kv + 1) * group; ++head) {
        kept[head] += layer->heads[head], updated[head] += layer->updates[head];
        kept_in[kv] += layer->heads[head], updated_in[kv] += layer->updates[head];
        any = any || layer->heads[head] != 0;
      }
      groups[kv] += any;
    }
    const std::vector<uint8_t> flags = kept_neurons(*layer, spec);
    for (size_t neuron = 0; neuron < neurons.size(); ++neuron) neurons[neuron] += flags[neuron];
  }
  LayerOrder order = identity_order(spec);
  const auto group_key = [&](int64_t kv) {
    return std::tuple(groups[size_t(kv)], updated_in[size_t(kv)], kept_in[size_t(kv)]);
  };
  std::stable_sort(order.kv_heads.begin(), order.kv_heads.end(),
                   [&](int64_t a, int64_t b) { return group_key(a) > group_key(b); });
  order.heads.clear();
  const auto head_key = [&](int64_t head) { return std::pair(kept[size_t(head)], updated[size_t(head)]); };
  for (int64_t kv : order.kv_heads) {
    const auto first = order.heads.insert(order.heads.end(), group, 0);
    std::iota(first, order.heads.end(), kv * int64_t(group));
    std::stable_sort(first, order.heads.end(), [&](int64_t a, int64_t b) { return head_key(a) > head_key(b); });
  }
  std::stable_sort(order.neurons.begin(), order.neurons.end(),
                   [&](int64_t a, int64_t b) { return neurons[size_t(a)] > neurons[size_t(b)]; });
  return order;
}

std::vector<LayerOrder> common_orders(const std::vector<BudgetPlan>& plans, const DecoderSpec& spec,
                                      const std::string& where) {
  std::vector<LayerOrder> orders;
  for (const BudgetPlan& one : plans) check_plan(one.plan, spec, fmt::format("{}: budget {}", where, one.budget));
  for (size_t l = 0; l < size_t(spec.num_hidden_layers); ++l) {
    std::vector<const LayerPlan*> layers;
    std::vector<std::pair<std::string, std::vector<uint8_t>>> groups, neurons;
    for (const BudgetPlan& one : plans) {
      // Where visual tokens do not exist, no order is wanted.
      const LayerPlan& layer = one.plan.layers[l];
      if (!layer.alive) continue;
      layers.push_back(&layer);
      groups.emplace_back(one.budget, kept_groups(layer, spec));
      neurons.emplace_back(one.budget, kept_neurons(layer, spec));
    }
    const std::string place = fmt::format("{}: layer {}", where, l);
    check_nested(groups, place, "KV heads");
    check_nested(neurons, place, "neurons");
    orders.push_back(layers.empty() ? identity_order(spec) : order_of(layers, spec));
  }
  return orders;
}

}  // namespace yopo
