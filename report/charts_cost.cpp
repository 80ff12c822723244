// What a plan costs: FLOPs by part, and bytes and times as they were measured.
#include <algorithm>

#include "core/error.h"
#include "report/axes.h"

namespace yopo::html {

Figures flops_by_part(const ReportData& data) {
  if (data.dense.empty()) return {};
  FlopParts sums[2];
  for (const auto& [side, layers] : {std::pair(0, &data.dense), std::pair(1, &data.pruned)})
    for (const FlopParts& one : *layers) {
      sums[side].projections += one.projections, sums[side].attention += one.attention;
      sums[side].ffn += one.ffn, sums[side].compensation += one.compensation;
    }
  const double whole = std::max(sums[0].sum(), 1.0), from = 62, to = 372;
  const auto [factor, unit] = scaled(whole, "FLOPs");
  const auto number = [scale = factor](double value) { return fmt::format("{:.2f}", value * scale); };
  Figure figure{
      {"flops", "Visual FLOPs of a prompt by part, dense and pruned",
       fmt::format("Dense {} {}, pruned {} {}.", number(sums[0].sum()), unit, number(sums[1].sum()), unit), 440, 132},
      {},
      {{"part", fmt::format("dense ({})", unit), fmt::format("pruned ({})", unit), "kept"}},
      fmt::format("Exact convention, mean over {}.", data.prompts)};
  static constexpr std::tuple<const char*, double FlopParts::*, const char*> parts[] = {
      {"projections (q, k, v, o)", &FlopParts::projections, "a"},
      {"attention", &FlopParts::attention, "b"},
      {"FFN", &FlopParts::ffn, "c"},
      {"compensation", &FlopParts::compensation, "d"}};
  Chart& chart = figure.chart;
  for (int side = 0; side < 2; ++side) {
    double x = from;
    chart.text(from - 6, 31 + 42 * side, side == 0 ? "dense" : "pruned", "end");
    for (const auto& [name, member, style] : parts) {
      const double w = (to - from) * (sums[side].*member) / whole;
      chart.box(x, 12 + 42 * side, w, 28, style, fmt::format("{}: {} {}", name, number(sums[side].*member), unit));
      x += w;
    }
    chart.text(x + 6, 31 + 42 * side, percent(sums[side].sum() / whole));
  }
  for (int i = 0; i <= 4; ++i) chart.text(from + (to - from) * i / 4, 102, fmt::format("{} %", 25 * i), "middle");
  chart.text((from + to) / 2, 122, "share of the dense visual FLOPs", "middle");
  for (const auto& [name, member, style] : parts) {
    const double d = sums[0].*member, p = sums[1].*member;
    if (d > 0 || p > 0) figure.legend.emplace_back(style, name);
    figure.rows.push_back({name, number(d), number(p), d > 0 ? percent(p / d) : "-"});
  }
  figure.rows.push_back({"sum", number(sums[0].sum()), number(sums[1].sum()), percent(sums[1].sum() / whole)});
  return {figure};
}

Figures bytes_and_times(const ReportData& data) {
  if (data.comparison.is_null()) return {};
  struct Measure {
    const char *label, *title, *name, *unit;
    bool prefixed;
    int digits;
  };
  static constexpr Measure measures[] = {
      {"KV cache", "KV cache after the prefill, of a prompt", "kv_bytes", "B", true, 1},
      {"prefill FLOPs", "prefill FLOPs, text included", "prefill_flops", "FLOPs", true, 1},
      {"prefill", "prefill, one prompt at a time", "prefill_ms", "ms", false, 2},
      {"decode", "decode of a token", "decode_ms", "ms", false, 3}};
  const double from = 92, to = 270, bottom = 12 + 30 * double(std::size(measures));
  Figure figure{{"times", "KV cache, FLOPs and times: pruned as a share of dense",
                 "Bars are the pruned model's share; the line is the dense model.", 440, bottom + 42},
                {{"a", "pruned"}, {"all", "dense"}},
                {{"measure", "unit", "dense", "pruned", "share"}},
                "Counted bytes and FLOPs; times are medians on the machine of the run, dense and pruned in turns."};
  double most = 1;
  const auto pair_of = [&](const Measure& m) {
    return std::pair(data.comparison.at("dense").at(m.name).get<double>(),
                     data.comparison.at("pruned").at(m.name).get<double>());
  };
  for (const Measure& m : measures)
    if (const auto [d, p] = pair_of(m); d > 0) most = std::max(most, p / d);
  const double one = from + (to - from) / most;
  Chart& chart = figure.chart;
  double y = 12;
  for (const Measure& m : measures) {
    const auto [d, p] = pair_of(m);
    const auto [factor, unit] = m.prefixed ? scaled(d, m.unit) : std::pair(1.0, std::string(m.unit));
    const std::string dense = fmt::format("{:.{}f}", d * factor, m.digits);
    const std::string pruned = fmt::format("{:.{}f}", p * factor, m.digits);
    const double share = d > 0 ? p / d : 0;
    chart.text(from - 6, y + 14, m.label, "end");
    chart.box(from, y, one - from, 20, "all");
    chart.box(from, y, (one - from) * share, 20, "a", fmt::format("{}: {}", m.title, percent(share)));
    chart.text(to + 8, y + 14, fmt::format("{} to {} {}", dense, pruned, unit));
    figure.rows.push_back({m.title, unit, dense, pruned, d > 0 ? percent(share) : "-"});
    y += 30;
  }
  for (int i = 0; i <= 2; ++i)
    chart.text(from + (one - from) * i / 2, bottom + 14, fmt::format("{} %", 50 * i), "middle");
  chart.line(one, 6, one, bottom, "axis");
  chart.text((from + to) / 2, bottom + 32, "share of dense", "middle");
  return {figure};
}

}  // namespace yopo::html
