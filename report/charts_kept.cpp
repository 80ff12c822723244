// What a plan keeps, by layer: heads, neurons, ranks of the compensation and what they are worth.
#include <algorithm>

#include "core/error.h"
#include "report/axes.h"

namespace yopo::html {
namespace {

const char* use_name(HeadUse use) {
  return use == HeadUse::Updated ? "computed and read" : use == HeadUse::Read ? "read" : "dropped";
}

std::string rank_text(int64_t rank) { return rank < 0 ? "none" : std::to_string(rank); }

/// What is missing of each layer's stream, with and without its map.
Figure stream_errors(const ReportData& data) {
  const size_t L = data.errors.size();
  const double top = 10, bottom = 180;
  double most = 1e-6;
  for (const StreamError& error : data.errors) most = std::max({most, error.without, error.with});
  const double scale = 100 * most * 1.05;
  Figure figure{
      {"compensation", "What compensation gives back, by layer",
       "Distance of visual rows from the dense model's behind each layer, without and with its map.", 440, 220},
      {{"all", "without the layer's map"}, {"d", "with it"}},
      {{"layer", "rank", "without", "with", "given back"}},
      "Root mean square of what visual rows lack behind the layer, as a share of the dense rows; the layers "
      "below have their maps. On the calibration pictures that the maps were fitted to."};
  Chart& chart = figure.chart;
  value_axis(chart, top, bottom, scale, "% of the dense rows");
  for (size_t l = 0; l < L; ++l) {
    const StreamError& error = data.errors[l];
    const double w = bar_width(L), x = layer_x(l, L) - w / 2;
    const auto tall = [&](double value) { return (bottom - top) * 100 * value / scale; };
    const std::string hint =
        fmt::format("layer {}: {} without, {} with its map", l, percent(error.without), percent(error.with));
    chart.box(x, bottom - tall(error.without), w, tall(error.without), "all", hint);
    chart.box(x, bottom - tall(error.with), w, tall(error.with), "d", hint);
    figure.rows.push_back({std::to_string(l), rank_text(data.layers[l].rank), percent(error.without),
                           percent(error.with), error.without > 0 ? percent(1 - error.with / error.without) : "-"});
  }
  layer_axis(chart, L, bottom);
  return figure;
}

}  // namespace

Figures ratio_map(const ReportData& data) {
  const size_t L = std::max(data.ratio.size(), data.layers.size()), H = size_t(data.all_heads);
  if (L == 0 || H == 0) return {};
  double most = 0;
  for (const auto& row : data.ratio) most = std::max(most, *std::max_element(row.begin(), row.end()));
  constexpr int kShades = 7;
  const double cell = (kRight - kLeft) / double(H), height = std::clamp(cell, 7.0, 18.0), top = 8;
  Figure figure{{"heads", data.ratio.empty() ? "Heads kept, by layer" : "Attention to the image, and heads kept",
                 fmt::format("{} layers by {} heads. Darker (in the dark theme: lighter) cells attend more to the "
                             "image. An orange mark is a head that visual tokens compute, a white one is only read, no "
                             "mark: dropped.",
                             L, H),
                 440, top + height * double(L) + 40},
                {},
                {{"layer", "head", "ratio", "visual tokens"}},
                data.ratio.empty() ? "Without statistics: kept heads alone."
                                   : "Attention mass on visual keys over mass on all others, mean over calibration "
                                     "samples."};
  Chart& chart = figure.chart;
  for (size_t l = 0; l < L; ++l) {
    const double y = top + height * double(l);
    if (l % step_of(L) == 0) chart.text(kLeft - 6, y + height / 2 + 4, std::to_string(l), "end");
    for (size_t h = 0; h < H; ++h) {
      const double x = kLeft + cell * double(h), ratio = data.ratio.empty() ? 0 : data.ratio[l][h];
      const int shade = most > 0 ? std::min(kShades - 1, int(ratio / most * kShades)) : 0;
      const std::string use = data.layers.empty() ? "" : use_name(data.layers[l].heads[h]);
      chart.box(x, y, std::max(cell - 1, 1.0), height - 1, fmt::format("h{}", shade),
                fmt::format("layer {}, head {}: ratio {:.3g} {}", l, h, ratio, use));
      const double r = std::min({3.5, cell / 3, height / 3});
      if (!data.layers.empty() && data.layers[l].heads[h] != HeadUse::Dropped)
        chart.dot(x + cell / 2 - 0.5, y + height / 2 - 0.5, r,
                  data.layers[l].heads[h] == HeadUse::Updated ? "m-updated" : "m-read");
      figure.rows.push_back(
          {std::to_string(l), std::to_string(h), data.ratio.empty() ? "-" : fmt::format("{:.4f}", ratio), use});
    }
  }
  for (size_t h = 0; h < H; h += step_of(H))
    chart.text(kLeft + cell * (double(h) + 0.5), top + height * double(L) + 14, std::to_string(h), "middle");
  chart.text((kLeft + kRight) / 2, top + height * double(L) + 31, "head", "middle");
  chart.upright(12, top + height * double(L) / 2, "decoder layer");
  if (most > 0)
    for (int s = 0; s < kShades; ++s)
      figure.legend.emplace_back(fmt::format("h{}", s), fmt::format("from {:.2g}", most * s / kShades));
  if (!data.layers.empty()) {
    figure.legend.emplace_back("m-updated", "computed and read");
    figure.legend.emplace_back("m-read", "only read");
    figure.caption += " Without a mark: dropped for visual tokens.";
  }
  return {figure};
}

Figures kept_by_layer(const ReportData& data) {
  const size_t L = data.layers.size();
  if (L == 0 || data.all_neurons == 0) return {};
  const double top = 10, bottom = 180, most = double(data.all_neurons);
  Figure figure{{"neurons", "FFN neurons that visual tokens use, by layer",
                 fmt::format("Of {} neurons in each of {} layers.", data.all_neurons, L), 440, 220},
                {{"a", "kept"}, {"all", fmt::format("all {}", data.all_neurons)}},
                {{"layer", "neurons", "heads read", "heads computed", "window", "rank"}},
                "What the plan keeps for visual tokens; text always uses everything."};
  value_axis(figure.chart, top, bottom, most, "neurons");
  for (size_t l = 0; l < L; ++l) {
    const KeptLayer& layer = data.layers[l];
    const double kept = double(std::max<int64_t>(layer.neurons, 0)), w = bar_width(L), x = layer_x(l, L) - w / 2;
    figure.chart.box(x, top, w, bottom - top, "all");
    figure.chart.box(x, bottom - (bottom - top) * kept / most, w, (bottom - top) * kept / most, "a",
                     fmt::format("layer {}: {:.0f} of {} neurons", l, kept, data.all_neurons));
    const auto updated = std::count(layer.heads.begin(), layer.heads.end(), HeadUse::Updated);
    const auto read = updated + std::count(layer.heads.begin(), layer.heads.end(), HeadUse::Read);
    figure.rows.push_back({std::to_string(l), fmt::format("{:.0f}", kept), std::to_string(read),
                           std::to_string(updated), layer.window.empty() ? "none" : layer.window,
                           layer.rank < 0 ? "-" : std::to_string(layer.rank)});
  }
  layer_axis(figure.chart, L, bottom);
  return {figure};
}

Figures compensation(const ReportData& data) {
  const size_t L = data.layers.size();
  int64_t most = 0;
  bool any = false;
  for (const KeptLayer& layer : data.layers) most = std::max(most, layer.rank), any = any || layer.rank >= 0;
  if (!any && data.gains.empty()) return {};
  Figures all;
  if (!data.errors.empty()) all.push_back(stream_errors(data));
  const double top = 10, bottom = 180, scale = rounded_up(double(std::max<int64_t>(most, 1)));
  Figure figure{{"ranks", "Rank of the compensation by layer", fmt::format("Highest rank {}.", most), 440, 220},
                {{"d", "rank"}},
                {{"layer", "rank", "measured step of the rank", "loss before", "loss after", "gain"}},
                "The table has what raising one layer's rank alone did to the loss, where the search measured it."};
  value_axis(figure.chart, top, bottom, scale, "rank");
  for (size_t l = 0; l < L; ++l) {
    const double w = bar_width(L), h = (bottom - top) * double(std::max<int64_t>(data.layers[l].rank, 0)) / scale;
    figure.chart.box(layer_x(l, L) - w / 2, bottom - h, w, h, "d",
                     fmt::format("layer {}: rank {}", l, rank_text(data.layers[l].rank)));
    std::vector<std::string> row{std::to_string(l), rank_text(data.layers[l].rank), "-", "-", "-", "-"};
    for (const RankGain& gain : data.gains)
      if (gain.layer == int64_t(l))
        row = {row[0],
               row[1],
               fmt::format("{} to {}", rank_text(gain.from), gain.to),
               fmt::format("{:.5f}", gain.before),
               fmt::format("{:.5f}", gain.after),
               fmt::format("{:+.5f}", gain.before - gain.after)};
    figure.rows.push_back(row);
  }
  layer_axis(figure.chart, L, bottom);
  all.push_back(figure);
  return all;
}

}  // namespace yopo::html
