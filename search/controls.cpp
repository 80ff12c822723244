#include "search/controls.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "compress/make_plan.h"
#include "core/error.h"
#include "search/ranking.h"

namespace yopo {
namespace {

/// The largest `size` in [0, most] whose plan fits; plans cost more the larger they are.
ControlPlan largest(const Menu& menu, double budget, int64_t most, const std::function<Plan(int64_t)>& plan_of) {
  if (const double least = menu.cost(plan_of(0)); least > budget) return {std::nullopt, least};
  int64_t fits = 0, beyond = most + 1;
  while (beyond - fits > 1) {
    const int64_t middle = fits + (beyond - fits) / 2;
    (menu.cost(plan_of(middle)) <= budget ? fits : beyond) = middle;
  }
  Plan plan = plan_of(fits);
  const double cost = menu.cost(plan);
  return {std::move(plan), cost};
}

/// `total` over the layers, one more in the first ones.
int64_t share_of(int64_t total, int64_t layers, size_t layer) {
  return total / layers + (int64_t(layer) < total % layers ? 1 : 0);
}

void keep_heads(LayerPlan& layer, const LayerRanking& ranking, int64_t count) {
  std::fill(layer.heads.begin(), layer.heads.end(), uint8_t(0));
  for (int64_t i = 0; i < count; ++i) layer.heads[size_t(ranking.heads[size_t(i)])] = 1;
  layer.updates = layer.heads;
}

void keep_neurons(LayerPlan& layer, const LayerRanking& ranking, int64_t count) {
  layer.neurons.reset();
  if (count == int64_t(ranking.neurons.size())) return;
  layer.neurons.emplace(ranking.neurons.begin(), ranking.neurons.begin() + count);
  std::sort(layer.neurons->begin(), layer.neurons->end());
}

/// The most of `each` a layer, spread evenly over the layers.
ControlPlan spread(const Menu& menu, double budget, int64_t each,
                   void (*keep)(LayerPlan& layer, const LayerRanking& ranking, int64_t count)) {
  const int64_t layers = menu.spec().num_hidden_layers;
  return largest(menu, budget, layers * each, [&](int64_t total) {
    Plan plan = dense_plan(menu.spec());
    for (size_t l = 0; l < plan.layers.size(); ++l) keep(plan.layers[l], menu.ranking()[l], share_of(total, layers, l));
    return plan;
  });
}

}  // namespace

ControlPlan uniform_control(const Menu& menu, double budget) {
  const DecoderSpec& spec = menu.spec();
  const int64_t heads = spec.num_attention_heads, neurons = spec.intermediate_size, layers = spec.num_hidden_layers;
  const auto plan_of = [&](int64_t kept_heads, int64_t kept_neurons) {
    Plan plan = dense_plan(spec);
    for (size_t l = 0; l < plan.layers.size(); ++l) {
      keep_heads(plan.layers[l], menu.ranking()[l], kept_heads);
      keep_neurons(plan.layers[l], menu.ranking()[l], share_of(kept_neurons, layers, l));
    }
    return plan;
  };
  int64_t kept = heads;
  while (kept > 0 && menu.cost(plan_of(kept, layers * (neurons * kept / heads))) > budget) --kept;
  return largest(menu, budget, layers * neurons, [&](int64_t total) { return plan_of(kept, total); });
}

ControlPlan random_control(const Menu& menu, double budget, uint64_t seed) {
  ControlPlan control = uniform_control(menu, budget);
  if (!control.plan) return control;
  Plan drawn = random_plan(*control.plan, menu.spec(), seed);
  // With grouped queries heads at random touch more KV groups: neurons give way.
  for (bool more = true; more && menu.cost(drawn) > budget;) {
    more = false;
    for (LayerPlan& layer : drawn.layers)
      if (layer.neurons && !layer.neurons->empty()) layer.neurons->pop_back(), more = true;
  }
  const double cost = menu.cost(drawn);
  if (cost > budget) return {std::nullopt, cost};
  return {std::move(drawn), cost};
}

Plan frozen_layer(const DecoderSpec& spec, int64_t layer) {
  Plan plan = dense_plan(spec);
  LayerPlan& frozen = plan.layers[size_t(layer)];
  frozen.updates.assign(frozen.heads.size(), 0);
  frozen.neurons.emplace();
  return plan;
}

ControlPlan frozen_control(const Menu& menu, double budget, const std::vector<double>& kl) {
  const DecoderSpec& spec = menu.spec();
  const int64_t layers = spec.num_hidden_layers;
  ensure(int64_t(kl.size()) == layers, "a divergence a layer");
  std::vector<int64_t> order(kl.size());
  std::iota(order.begin(), order.end(), int64_t(0));
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return kl[size_t(a)] < kl[size_t(b)]; });
  const auto plan_of = [&](int64_t whole) {
    Plan plan = dense_plan(spec);
    for (int64_t i = 0; i < layers - whole; ++i) {
      const auto layer = size_t(order[size_t(i)]);
      plan.layers[layer] = frozen_layer(spec, int64_t(layer)).layers[layer];
    }
    return plan;
  };
  ControlPlan control = largest(menu, budget, layers, plan_of);
  if (control.plan) {
    int64_t frozen = 0;
    for (const LayerPlan& layer : control.plan->layers) frozen += layer.neurons.has_value();
    control.note = fmt::format("{} of {} layers frozen", frozen, layers);
  }
  return control;
}

ControlPlan depth_control(const Menu& menu, double budget) {
  ControlPlan control = largest(menu, budget, menu.spec().num_hidden_layers, [&](int64_t depth) {
    Plan plan = dense_plan(menu.spec());
    set_visual_layers(plan, depth);
    return plan;
  });
  if (control.plan)
    control.note = fmt::format("{} of {} layers", visual_layers(*control.plan), control.plan->layers.size());
  return control;
}

ControlPlan window_control(const Menu& menu, double budget) {
  constexpr int64_t most = 64;  // radius
  ControlPlan control = largest(menu, budget, most, [&](int64_t radius) {
    Plan plan = dense_plan(menu.spec());
    set_window(plan, Window{2 * radius + 1, true});
    return plan;
  });
  if (control.plan) control.note = fmt::format("window {}", control.plan->layers[0].window->size);
  return control;
}

ControlPlan heads_control(const Menu& menu, double budget) {
  return spread(menu, budget, menu.spec().num_attention_heads, keep_heads);
}

ControlPlan neurons_control(const Menu& menu, double budget) {
  return spread(menu, budget, menu.spec().intermediate_size, keep_neurons);
}

ControlPlan published_control(const Menu& menu, double budget, const Statistics& statistics) {
  constexpr int64_t steps = 64;
  const DecoderSpec& spec = menu.spec();
  std::vector<double> ratios;
  for (const std::vector<double>& layer : ratio_scores(statistics))
    ratios.insert(ratios.end(), layer.begin(), layer.end());
  std::sort(ratios.begin(), ratios.end());
  const auto plan_of = [&](int64_t depth, int64_t step) {  // step 0: every ratio is above; `steps`: none
    PlanOptions options;
    options.window = WindowOptions{5, false};
    options.ffn = FfnOptions{Keep{true, 0.5}};
    options.visual_layers = Keep{false, double(depth)};
    HeadOptions heads;
    const size_t at = std::min(ratios.size() - 1, ratios.size() * size_t(step) / size_t(steps));
    heads.threshold = step == 0 ? 0.0 : ratios[at];
    options.heads = heads;
    return make_plan(statistics, options, spec, "the published recipe");
  };
  int64_t depth = (spec.num_hidden_layers + 1) / 2;
  while (depth > 1 && menu.cost(plan_of(depth, steps / 2)) > budget) --depth;
  ControlPlan control = largest(menu, budget, steps, [&](int64_t kept) { return plan_of(depth, steps - kept); });
  if (control.plan)
    control.note = fmt::format("window 5, half of the neurons, {} of {} layers, heads by threshold", depth,
                               spec.num_hidden_layers);
  return control;
}

}  // namespace yopo
