#include "search/eliminate.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace yopo {
namespace {

constexpr size_t part = 4;       // of those left, what goes in a round
constexpr size_t untouched = 8;  // of all groups, the part whose order no longer matters

size_t leaving(size_t left) { return std::max<size_t>(1, left / part); }

void take_away(Plan& plan, const Group& group, const DecoderSpec& spec) {
  LayerPlan& layer = plan.layers[size_t(group.layer)];
  const auto first = std::ptrdiff_t(group.kv * spec.group_size()), count = std::ptrdiff_t(spec.group_size());
  std::fill_n(layer.heads.begin() + first, count, uint8_t(0));
  std::fill_n(layer.updates.begin() + first, count, uint8_t(0));
}

}  // namespace

std::vector<Group> elimination_order(const Plan& whole, const DecoderSpec& spec, const Losses& losses,
                                     const std::string& name, int64_t most) {
  std::vector<Group> left, gone;
  for (int64_t layer = 0; layer < visual_layers(whole); ++layer)
    for (int64_t kv = 0; kv < spec.num_key_value_heads; ++kv) left.push_back({layer, kv});
  const size_t last = std::max<size_t>(1, left.size() / untouched);
  int64_t plans = 0;
  for (size_t count = left.size(); count > last; count -= leaving(count)) plans += int64_t(count);
  if (plans > most) return {};
  Plan plan = whole;
  for (int round = 1; left.size() > last; ++round) {
    std::vector<std::pair<std::string, Plan>> without;
    for (const Group& group : left) {
      Plan one = plan;
      take_away(one, group, spec);
      without.emplace_back(fmt::format("round {} without {}.{} of {}", round, group.layer, group.kv, name),
                           std::move(one));
    }
    const std::vector<double> missed = losses(without);
    ensure(missed.size() == left.size(), "a loss of every plan");
    std::vector<size_t> order(left.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return missed[a] < missed[b]; });
    const size_t leave = left.size() - leaving(left.size()) <= last ? left.size() : leaving(left.size());
    std::vector<Group> stay;
    for (size_t i = 0; i < order.size(); ++i) {
      const Group& group = left[order[i]];
      (i < leave ? gone : stay).push_back(group);
      if (i < leave) take_away(plan, group, spec);
    }
    left = std::move(stay);
  }
  return gone;
}

}  // namespace yopo
