#include <algorithm>
#include <cmath>

#include "compress/make_plan.h"
#include "core/error.h"

namespace yopo {
namespace {

// Marks the `count` highest of scores[first, last) in `kept`; ties to the lower index.
void keep_highest(const std::vector<double>& scores, int64_t first, int64_t last, int64_t count,
                  std::vector<uint8_t>& kept) {
  std::vector<int64_t> order;
  for (int64_t i = first; i < last; ++i) order.push_back(i);
  const auto before = [&](int64_t a, int64_t b) {
    return scores[size_t(a)] != scores[size_t(b)] ? scores[size_t(a)] > scores[size_t(b)] : a < b;
  };
  if (count < int64_t(order.size())) std::nth_element(order.begin(), order.begin() + count, order.end(), before);
  for (int64_t i = 0; i < count; ++i) kept[size_t(order[size_t(i)])] = 1;
}

}  // namespace

std::vector<double> neuron_scores(const Statistics& statistics, NeuronScore score, const OptionPlace& place) {
  const size_t width = size_t(statistics.intermediate_size), total = size_t(statistics.layers) * width;
  ensure(statistics.abs_sum.size() == total && statistics.square_sum.size() == total &&
             statistics.active.size() == total && statistics.column_norm.size() == total &&
             statistics.rows.size() == size_t(statistics.layers),
         "neuron statistics are [L, F]");
  std::vector<double> scores(total);
  for (size_t i = 0; i < total; ++i) {
    const int64_t rows = statistics.rows[i / width];
    require(rows > 0, "{}: the statistics hold no visual rows in layer {}", place.all(), i / width);
    const double rms = std::sqrt(statistics.square_sum[i] / double(rows));
    switch (score) {
      case NeuronScore::MeanAbs:
        scores[i] = statistics.abs_sum[i] / double(rows);
        break;
      case NeuronScore::Rms:
        scores[i] = rms;
        break;
      case NeuronScore::Active:
        scores[i] = statistics.active[i] / double(rows);
        break;
      case NeuronScore::Wanda:
        scores[i] = rms * statistics.column_norm[i];
        break;
    }
    require(std::isfinite(scores[i]), "{}: the score {} of layer {}, neuron {} is not finite", place.all(),
            name_of(score), i / width, i % width);
  }
  return scores;
}

std::vector<std::optional<std::vector<int64_t>>> select_neurons(const Statistics& statistics, const FfnOptions& options,
                                                                const OptionPlace& place, VisualLayers visual_layers) {
  const int64_t layers = statistics.layers, width = statistics.intermediate_size;
  const int64_t visual = visual_layers.value_or(layers);
  require(visual >= 0 && visual <= layers, "{}: visual_layers: {} is out of range; the statistics have {} layers",
          place.all(), visual, layers);
  const std::vector<double> scores = neuron_scores(statistics, options.score, place);
  std::vector<uint8_t> kept(scores.size(), 0);
  if (options.scope == Scope::Model) {
    keep_highest(scores, 0, visual * width,
                 kept_count(options.keep, visual * width, "neurons", "there are", place.of("keep")), kept);
    for (int64_t layer = 0; layer < visual; ++layer) {
      const auto first = kept.begin() + layer * width;
      const int64_t count = std::count(first, first + width, uint8_t(1));
      const int64_t whole = whole_neurons(options, count, width);
      if (whole == count) continue;
      std::fill(first, first + width, uint8_t(0));
      keep_highest(scores, layer * width, (layer + 1) * width, whole, kept);
    }
    std::fill(kept.begin() + visual * width, kept.end(), uint8_t(1));
  } else {
    const int64_t asked = kept_count(options.keep, width, "neurons", "there are", place.of("keep"));
    const int64_t count = whole_neurons(options, asked, width);
    for (int64_t layer = 0; layer < layers; ++layer)
      keep_highest(scores, layer * width, (layer + 1) * width, count, kept);
  }
  std::vector<std::optional<std::vector<int64_t>>> sets;
  for (int64_t layer = 0; layer < layers; ++layer) {
    std::vector<int64_t> set;
    for (int64_t neuron = 0; neuron < width; ++neuron)
      if (kept[size_t(layer * width + neuron)]) set.push_back(neuron);
    if (int64_t(set.size()) == width)
      sets.emplace_back();
    else
      sets.emplace_back(std::move(set));
  }
  return sets;
}

}  // namespace yopo
