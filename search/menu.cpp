#include "search/menu.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"

namespace yopo {
namespace {

std::vector<int64_t> distinct(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

/// Every head of a few; of many, steps that grow with the count.
std::vector<int64_t> head_ladder(int64_t heads) {
  std::vector<int64_t> values;
  const int64_t step = std::max<int64_t>(1, heads / 16);
  for (int64_t count = 0; count <= heads; count += step) values.push_back(count);
  values.push_back(heads);
  return distinct(std::move(values));
}

std::vector<int64_t> update_ladder(int64_t heads) {
  std::vector<int64_t> values{0, heads};
  for (int64_t part : {16, 8, 4, 2})
    if (heads >= part) values.push_back(heads / part);
  return distinct(std::move(values));
}

std::vector<int64_t> neuron_ladder(int64_t neurons) {
  const int64_t unit = neurons >= 2048 ? 128 : neurons >= 512 ? 32 : 8;  // whole products
  std::vector<int64_t> values{0, neurons};
  for (double share : {1.0 / 48, 1.0 / 24, 1.0 / 12, 1.0 / 8, 1.0 / 6, 0.25, 1.0 / 3, 0.5, 0.75})
    values.push_back(
        std::min(neurons, std::max(unit, int64_t(std::llround(share * double(neurons) / double(unit))) * unit)));
  return distinct(std::move(values));
}

/// From a visual row alone to all earlier ones (0).
std::vector<int64_t> window_ladder(const std::vector<PromptShape>& shapes) {
  int64_t side = 0;
  for (const PromptShape& shape : shapes)
    for (const Span& span : shape.spans) side = std::max({side, span.rows, span.columns});
  std::vector<int64_t> values{1};
  for (int64_t size = 3; size < 2 * side - 1 && size <= 9; size += 2) values.push_back(size);
  values.push_back(0);
  return values;
}

/// A layer in which visual tokens do not exist.
LayerPlan text_layer(const DecoderSpec& spec) {
  LayerPlan layer = dense_plan(spec).layers.front();
  layer.alive = false;
  return layer;
}

std::string amount(double value) { return value < 1e4 ? fmt::format("{:.4g}", value) : fmt::format("{:.0f}", value); }

}  // namespace

Menu::Menu(const DecoderSpec& spec, Ranking ranking, const std::vector<PromptShape>& shapes, std::vector<int64_t> ranks,
           CostModel prices)
    : spec_(spec), ranking_(std::move(ranking)), prices_(std::move(prices)) {
  ensure(int64_t(ranking_.size()) == spec.num_hidden_layers && !shapes.empty(),
         "a ranking of every layer, some prompts");
  std::map<std::vector<int64_t>, std::pair<PromptShape, int64_t>> grouped;
  for (const PromptShape& shape : shapes) {
    std::vector<int64_t> key{shape.length};
    for (const Span& span : shape.spans) key.insert(key.end(), {span.start, span.rows, span.columns});
    auto [found, fresh] = grouped.try_emplace(key, shape, 0);
    ++found->second.second;
  }
  for (auto& [key, group] : grouped) shapes_.push_back(std::move(group));
  values_[size_t(Ladder::Heads)] = head_ladder(spec.num_attention_heads);
  values_[size_t(Ladder::Updates)] = update_ladder(spec.num_attention_heads);
  values_[size_t(Ladder::Neurons)] = neuron_ladder(spec.intermediate_size);
  values_[size_t(Ladder::Window)] = window_ladder(shapes);
  values_[size_t(Ladder::Rank)] = std::move(ranks);
  text_price_ = price(text_layer(spec), prices_);
  for (int64_t l = 0; l < spec.num_hidden_layers; ++l)
    dense_price_ += price(layer_plan(l, dense()[size_t(l)]), prices_) - text_price_;
  require(dense_price_ > 0, "search: visual tokens cost nothing: the prompts have no images");
}

Choice Menu::dense() const {
  LayerChoice whole;
  for (const Ladder ladder : {Ladder::Heads, Ladder::Updates, Ladder::Neurons, Ladder::Window})
    whole.at(ladder) = levels(ladder) - 1;
  return Choice(size_t(spec_.num_hidden_layers), whole);
}

LayerChoice Menu::normal(LayerChoice layer) const {
  while (value(Ladder::Updates, layer.at(Ladder::Updates)) > value(Ladder::Heads, layer.at(Ladder::Heads)))
    --layer.at(Ladder::Updates);
  if (layer.at(Ladder::Updates) == 0) layer.at(Ladder::Window) = 0;
  return layer;
}

LayerPlan Menu::layer_plan(int64_t layer, const LayerChoice& choice, int64_t extra_neurons) const {
  const LayerRanking& ranking = ranking_[size_t(layer)];
  const LayerChoice levels = normal(choice);
  LayerPlan plan;
  plan.heads = plan.updates = HeadFlags(size_t(spec_.num_attention_heads), 0);
  const int64_t heads = value(Ladder::Heads, levels.at(Ladder::Heads));
  for (int64_t i = 0; i < heads; ++i) plan.heads[size_t(ranking.heads[size_t(i)])] = 1;
  int64_t updates = value(Ladder::Updates, levels.at(Ladder::Updates));
  for (const int64_t head : ranking.updates)
    if (updates > 0 && plan.heads[size_t(head)]) plan.updates[size_t(head)] = 1, --updates;
  const int64_t neurons =
      std::min(spec_.intermediate_size, value(Ladder::Neurons, levels.at(Ladder::Neurons)) + extra_neurons);
  if (neurons < spec_.intermediate_size) {
    plan.neurons.emplace(ranking.neurons.begin(), ranking.neurons.begin() + neurons);
    std::sort(plan.neurons->begin(), plan.neurons->end());
  }
  if (const int64_t window = value(Ladder::Window, levels.at(Ladder::Window));
      window > 0 && levels.at(Ladder::Updates) > 0)
    plan.window = Window{window, true};
  if (const int64_t rank = value(Ladder::Rank, levels.at(Ladder::Rank)); rank >= 0) {
    auto added = std::make_shared<Compensation>();
    const auto hidden = size_t(spec_.hidden_size);
    added->rank = rank;
    added->down.assign(size_t(rank) * hidden, 0.0f);
    added->up.assign(size_t(rank) * hidden, 0.0f);
    added->bias.assign(hidden, 0.0f);
    plan.compensation = std::move(added);
  }
  return plan;
}

Plan Menu::plan(const Choice& choice) const {
  Plan plan;
  for (int64_t l = 0; l < int64_t(choice.size()); ++l) plan.layers.push_back(layer_plan(l, choice[size_t(l)]));
  // Behind the last layer that does anything visual tokens need not exist.
  const LayerChoice nothing;
  for (size_t l = choice.size(); l-- > 0 && normal(choice[l]) == nothing;) {
    LayerPlan& layer = plan.layers[l];
    layer.alive = false;
    layer.compensation = nullptr;
    layer.heads = layer.updates = HeadFlags(size_t(spec_.num_attention_heads), 1);
    layer.neurons.reset();
  }
  return plan;
}

double Menu::price(const LayerPlan& layer, const CostModel& prices) const {
  double sum = 0, count = 0;
  for (const auto& [shape, times] : shapes_) {
    sum += layer_price(prices, layer, spec_, shape) * double(times);
    count += double(times);
  }
  return sum / count;
}

double Menu::cost(const LayerPlan& layer) const { return (price(layer, prices_) - text_price_) / dense_price_; }
double Menu::cost(int64_t layer, const LayerChoice& choice) const { return cost(layer_plan(layer, choice)); }
double Menu::cost(const Choice& choice) const {
  double sum = 0;
  for (size_t l = 0; l < choice.size(); ++l) sum += cost(int64_t(l), choice[l]);
  return sum;
}
double Menu::cost(const Plan& plan) const {
  double sum = 0;
  for (const LayerPlan& layer : plan.layers) sum += cost(layer);
  return sum;
}

double Menu::share(const Budget& budget) const {
  ensure(budget.kind == prices_.kind, "a budget in what is counted");
  if (budget.kind == Budget::Kind::Flops || budget.kind == Budget::Kind::Paper) return budget.value;
  const double left = budget.value - spent(0);
  require(left > 0, "plan.budget: {} cannot be met: text alone takes {} {} of a mean prompt, and no plan changes that",
          budget_text(budget), amount(spent(0)), what_is_spent(budget.kind));
  return std::min(1.0, left / dense_price_);
}

double Menu::spent(double share) const {
  if (prices_.kind == Budget::Kind::Flops || prices_.kind == Budget::Kind::Paper) return share;
  const double fixed = prices_.kind == Budget::Kind::Time ? prices_.times->fixed : 0;
  return fixed + double(spec_.num_hidden_layers) * text_price_ + share * dense_price_;
}

double Menu::visual_flops(const Plan& plan) const {
  const CostModel exact;
  const double text = price(text_layer(spec_), exact);
  double sum = 0;
  for (const LayerPlan& layer : plan.layers) sum += price(layer, exact) - text;
  const Choice whole = dense();
  double all = 0;
  for (size_t l = 0; l < whole.size(); ++l) all += price(layer_plan(int64_t(l), whole[l]), exact) - text;
  return sum / all;
}

std::string choice_text(const Menu& menu, const Choice& choice) {
  std::string text;
  for (const LayerChoice& raw : choice) {
    const LayerChoice layer = menu.normal(raw);
    for (int ladder = 0; ladder < ladder_count; ++ladder)
      text += fmt::format("{}{}", ladder == 0 ? (text.empty() ? "" : " ") : ".",
                          menu.value(Ladder(ladder), layer.level[ladder]));
  }
  return text;
}

}  // namespace yopo
