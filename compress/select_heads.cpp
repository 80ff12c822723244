#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/make_plan.h"
#include "core/error.h"
#include "core/progress.h"

namespace yopo {
namespace {

HeadMask mask_of(int64_t layers, int64_t heads, uint8_t value) {
  return HeadMask(size_t(layers), std::vector<uint8_t>(size_t(heads), value));
}

void check_ratios(const Statistics& statistics, const std::string& where) {
  require(statistics.samples() > 0, "{}: the statistics hold no samples", where);
  const size_t each = size_t(statistics.layers * statistics.heads);
  ensure(statistics.ratio.size() == size_t(statistics.samples()) * each, "ratio is [S, L, H]");
  for (size_t i = 0; i < statistics.ratio.size(); ++i)
    require(!std::isnan(statistics.ratio[i]),
            "{}: the statistics hold NaN as attention ratio of sample '{}', layer {}, head {}", where,
            statistics.ids[i / each], i % each / size_t(statistics.heads), i % size_t(statistics.heads));
}

// Keeps a head of `within` with more than vote * S votes, both comparisons strict.
HeadMask by_votes(const Statistics& statistics, const HeadOptions& options, const HeadMask& within, int64_t exempt) {
  const int64_t samples = statistics.samples(), layers = statistics.layers, heads = statistics.heads;
  HeadMask mask = within;
  for (int64_t layer = exempt; layer < layers; ++layer)
    for (int64_t head = 0; head < heads; ++head) {
      int64_t votes = 0;
      for (int64_t sample = 0; sample < samples; ++sample)
        votes += statistics.ratio[size_t((sample * layers + layer) * heads + head)] > *options.threshold;
      if (!(double(votes) > options.vote * double(samples))) mask[size_t(layer)][size_t(head)] = 0;
    }
  return mask;
}

struct Ranked {
  double score;
  int64_t layer, head;
};

// The `count` highest of `candidates` set to one; ties to the lower layer, then the lower head.
void keep_highest(std::vector<Ranked> candidates, int64_t count, HeadMask& mask) {
  std::sort(candidates.begin(), candidates.end(), [](const Ranked& a, const Ranked& b) {
    if (a.score != b.score) return a.score > b.score;
    return std::pair(a.layer, a.head) < std::pair(b.layer, b.head);
  });
  for (size_t i = 0; i < size_t(count); ++i) mask[size_t(candidates[i].layer)][size_t(candidates[i].head)] = 1;
}

std::vector<Ranked> candidates_of(const std::vector<double>& means, const HeadMask& within, int64_t first,
                                  int64_t last) {
  std::vector<Ranked> candidates;
  for (int64_t layer = first; layer < last; ++layer)
    for (int64_t head = 0; head < int64_t(within[size_t(layer)].size()); ++head)
      if (within[size_t(layer)][size_t(head)])
        candidates.push_back({means[size_t(layer) * within[size_t(layer)].size() + size_t(head)], layer, head});
  return candidates;
}

// Mean ratio over the samples, summed in their fixed order. [L, H]
std::vector<double> mean_ratios(const Statistics& statistics) {
  const size_t each = size_t(statistics.layers * statistics.heads);
  std::vector<double> means(each, 0.0);
  for (size_t i = 0; i < statistics.ratio.size(); ++i) means[i % each] += statistics.ratio[i];
  for (double& mean : means) mean /= double(statistics.samples());
  return means;
}

HeadMask by_number(const Statistics& statistics, const HeadOptions& options, const HeadMask& within, bool nested,
                   int64_t exempt, int64_t visual_layers, const OptionPlace& place) {
  const int64_t layers = statistics.layers, heads = statistics.heads;
  const std::vector<double> means = mean_ratios(statistics);
  HeadMask mask = mask_of(layers, heads, 0);
  std::copy_n(within.begin(), exempt, mask.begin());
  if (options.scope == Scope::Layer) {
    const int64_t count = kept_count(*options.keep, heads, "heads", "that a layer has", place.of("keep"));
    int64_t fewer = 0;
    for (int64_t layer = exempt; layer < layers; ++layer) {
      auto candidates = candidates_of(means, within, layer, layer + 1);
      const int64_t most = int64_t(candidates.size());
      if (most < count && layer < visual_layers) ++fewer;
      keep_highest(std::move(candidates), std::min(count, most), mask);
    }
    if (fewer > 0)
      note(fmt::format("{}: {} heads a layer, but 'heads' keeps fewer in {} layers: all of those are updated there",
                       place.of("keep"), count, fewer));
    return mask;
  }
  std::copy(within.begin() + visual_layers, within.end(), mask.begin() + visual_layers);
  const int64_t count = kept_count(*options.keep, visual_layers * heads, "heads",
                                   fmt::format("that {} layers have", visual_layers), place.of("keep"));
  const int64_t spent_layers = std::min(exempt, visual_layers);
  const int64_t spent = int64_t(candidates_of(means, within, 0, spent_layers).size());
  require(count >= spent, "{}: {} heads in all, but the {} exempt layers alone keep {}", place.of("keep"), count,
          spent_layers, spent);
  auto candidates = candidates_of(means, within, spent_layers, visual_layers);
  const int64_t most = int64_t(candidates.size());
  require(options.keep->fraction || !nested || count - spent <= most,
          "{}: {} heads are above the {} that 'heads' keeps", place.of("keep"), count, spent + most);
  keep_highest(std::move(candidates), std::min(count - spent, most), mask);
  return mask;
}

HeadMask select(const Statistics& statistics, const HeadOptions& options, const HeadMask& within, bool nested,
                const OptionPlace& place, VisualLayers visual_layers) {
  const int ways = int(options.keep.has_value()) + int(options.threshold.has_value()) + int(!options.mask.empty());
  require(ways == 1, "{}: expected exactly one of keep, threshold and mask, found {}", place.all(), ways);
  const int64_t visual = visual_layers.value_or(statistics.layers);
  require(visual >= 0 && visual <= statistics.layers,
          "{}: visual_layers: {} is out of range; the statistics have {} layers", place.all(), visual,
          statistics.layers);
  if (!options.mask.empty()) {
    HeadMask mask = read_head_mask(options.mask, statistics.layers, statistics.heads);
    for (size_t layer = 0; layer < mask.size(); ++layer)
      for (size_t head = 0; head < mask[layer].size(); ++head)
        require(!mask[layer][head] || within[layer][head],
                "{}: {}: layer {}, head {} is updated, but 'heads' drops it; updates lie within heads", place.all(),
                options.mask.string(), layer, head);
    return mask;
  }
  check_ratios(statistics, place.all());
  const int64_t wanted = exempt_layers(options);
  require(wanted >= 0 && (!options.exempt_layers || wanted <= statistics.layers),
          "{}: {} is out of range; the statistics have {} layers", place.of("exempt_layers"), wanted,
          statistics.layers);
  const int64_t exempt = std::min(wanted, statistics.layers);
  if (options.threshold) {
    require(std::isfinite(*options.threshold), "{}: expected a finite number, found {}", place.of("threshold"),
            *options.threshold);
    require(options.vote >= 0 && options.vote <= 1, "{}: expected a fraction in [0, 1], found {}", place.of("vote"),
            options.vote);
    return by_votes(statistics, options, within, exempt);
  }
  return by_number(statistics, options, within, nested, exempt, visual, place);
}

}  // namespace

HeadMask select_heads(const Statistics& statistics, const HeadOptions& options, const OptionPlace& place,
                      VisualLayers visual_layers) {
  return select(statistics, options, mask_of(statistics.layers, statistics.heads, 1), false, place, visual_layers);
}

HeadMask select_updates(const Statistics& statistics, const HeadOptions& options, const HeadMask& within,
                        const OptionPlace& place, VisualLayers visual_layers) {
  ensure(int64_t(within.size()) == statistics.layers, "select_updates: `within` is [L][H]");
  return select(statistics, options, within, true, place, visual_layers);
}

}  // namespace yopo
