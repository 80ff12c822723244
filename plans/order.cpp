#include "plans/order.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "plans/budgets.h"

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

/// 1 for every neuron of the set, [intermediate_size].
std::vector<uint8_t> flags_of(const Neurons& set, const DecoderSpec& spec) {
  std::vector<uint8_t> flags(size_t(spec.intermediate_size), 0);
  for (int64_t neuron : set) flags[size_t(neuron)] = 1;
  return flags;
}

LayerPlan reorder_layer(const LayerPlan& layer, const DecoderSpec& spec, const LayerOrder& order) {
  ensure(int64_t(order.heads.size()) == spec.num_attention_heads &&
             int64_t(order.neurons.size()) == spec.intermediate_size,
         "reorder_plan: an order as wide as the model");
  LayerPlan result = layer;
  for (size_t i = 0; i < order.heads.size(); ++i) {
    result.heads[i] = layer.heads[size_t(order.heads[i])];
    result.updates[i] = layer.updates[size_t(order.heads[i])];
  }
  if (!layer.neurons) return result;
  const std::vector<uint8_t> flags = flags_of(*layer.neurons, spec);
  result.neurons->clear();
  for (size_t i = 0; i < order.neurons.size(); ++i)
    if (flags[size_t(order.neurons[i])]) result.neurons->push_back(int64_t(i));
  return result;
}

}  // namespace

bool LayerOrder::identity() const { return is_iota(kv_heads) && is_iota(heads) && is_iota(neurons); }

LayerOrder identity_order(const DecoderSpec& spec) {
  return {iota(spec.num_key_value_heads), iota(spec.num_attention_heads), iota(spec.intermediate_size)};
}

std::vector<LayerOrder> orders_of(const Plan& plan, const DecoderSpec& spec) {
  check_plan(plan, spec, "orders_of");
  std::vector<LayerOrder> orders;
  for (const LayerPlan& layer : plan.layers) orders.push_back(order_of({&layer}, spec));
  return orders;
}

Plan reorder_plan(const Plan& plan, const DecoderSpec& spec, const std::vector<LayerOrder>& orders) {
  check_plan(plan, spec, "reorder_plan");
  ensure(int64_t(orders.size()) == spec.num_hidden_layers, "reorder_plan: one order a layer");
  Plan result = plan;
  for (size_t l = 0; l < orders.size(); ++l) result.layers[l] = reorder_layer(plan.layers[l], spec, orders[l]);
  return result;
}

}  // namespace yopo
