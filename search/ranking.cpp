#include "search/ranking.h"

#include <algorithm>
#include <numeric>

#include "compress/make_plan.h"
#include "core/error.h"

namespace yopo {
namespace {

std::vector<int64_t> descending(const std::vector<double>& scores) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return scores[size_t(a)] > scores[size_t(b)]; });
  return order;
}

}  // namespace

Ranking rank(const DecoderSpec& spec, const HeadScores& reads, const HeadScores& updates, const HeadScores& neurons) {
  const int64_t group = spec.group_size();
  Ranking ranking;
  for (size_t l = 0; l < size_t(spec.num_hidden_layers); ++l) {
    LayerRanking& layer = ranking.emplace_back();
    std::vector<double> groups(size_t(spec.num_key_value_heads), 0.0);
    for (size_t head = 0; head < reads[l].size(); ++head) groups[head / size_t(group)] += reads[l][head];
    for (const int64_t kv : descending(groups)) {
      const auto first = reads[l].begin() + kv * group;
      for (const int64_t head : descending({first, first + group})) layer.heads.push_back(kv * group + head);
    }
    layer.updates = descending(updates[l]);
    layer.neurons = descending(neurons[l]);
  }
  return ranking;
}

HeadScores wanda_scores(const Statistics& statistics) {
  const std::vector<double> wanda = neuron_scores(statistics, NeuronScore::Wanda, "search");
  HeadScores scores;
  for (auto at = wanda.begin(); at != wanda.end(); at += statistics.intermediate_size)
    scores.emplace_back(at, at + statistics.intermediate_size);
  return scores;
}

HeadScores ratio_scores(const Statistics& statistics) {
  HeadScores scores(size_t(statistics.layers), std::vector<double>(size_t(statistics.heads), 0.0));
  const size_t each = size_t(statistics.layers * statistics.heads);
  for (size_t i = 0; i < statistics.ratio.size(); ++i)
    scores[i % each / size_t(statistics.heads)][i % size_t(statistics.heads)] += statistics.ratio[i];
  return scores;
}

std::vector<LayerOrder> orders_of(const Ranking& ranking, const DecoderSpec& spec) {
  std::vector<LayerOrder> orders;
  for (const LayerRanking& layer : ranking) {
    LayerOrder& order = orders.emplace_back();
    order.heads = layer.heads;
    order.neurons = layer.neurons;
    for (size_t i = 0; i < layer.heads.size(); i += size_t(spec.group_size()))
      order.kv_heads.push_back(layer.heads[i] / spec.group_size());
  }
  return orders;
}

}  // namespace yopo
