#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "report/html.h"

namespace yopo::html {
namespace {

constexpr double kLeft = 52, kRight = 430;

/// Every how many layers or heads an axis has a number.
size_t step_of(size_t count) { return count <= 16 ? 1 : count <= 32 ? 4 : 8; }

double layer_x(size_t l, size_t count) { return kLeft + (kRight - kLeft) * (double(l) + 0.5) / double(count); }
double bar_width(size_t count) { return std::max(2.0, (kRight - kLeft) / double(count) * 0.7); }

void layer_axis(Chart& chart, size_t count, double y) {
  chart.line(kLeft, y, kRight, y, "axis");
  for (size_t l = 0; l < count; l += step_of(count)) chart.text(layer_x(l, count), y + 15, std::to_string(l), "middle");
  chart.text((kLeft + kRight) / 2, y + 32, "decoder layer", "middle");
}

/// A round number not below `value`.
double rounded_up(double value) {
  const double base = std::pow(10, std::floor(std::log10(std::max(value, 1e-12))));
  for (const double factor : {1.0, 2.0, 5.0, 10.0})
    if (value <= factor * base * (1 + 1e-9)) return factor * base;
  return 10 * base;
}

void value_axis(Chart& chart, double top, double bottom, double most, const std::string& name) {
  for (int i = 0; i <= 4; ++i) {
    const double y = bottom - (bottom - top) * i / 4;
    chart.line(kLeft, y, kRight, y, "grid");
    chart.text(kLeft - 6, y + 4, fmt::format("{:.4g}", most * i / 4), "end");
  }
  chart.upright(12, (top + bottom) / 2, name);
}

const char* use_name(HeadUse use) {
  return use == HeadUse::Updated ? "computed and read" : use == HeadUse::Read ? "read" : "dropped";
}

}  // namespace

std::string ratio_map(const ReportData& data) {
  const size_t L = std::max(data.ratio.size(), data.layers.size()), H = size_t(data.all_heads);
  if (L == 0 || H == 0) return "";
  double most = 0;
  for (const auto& row : data.ratio) most = std::max(most, *std::max_element(row.begin(), row.end()));
  constexpr int kShades = 7;
  const double cell = (kRight - kLeft) / double(H), height = std::clamp(cell, 7.0, 18.0), top = 8;
  Chart chart{
      "Visual to text attention by layer and head",
      fmt::format("{} layers by {} heads. Darker (in the dark theme: lighter) cells attend more to the image. A "
                  "filled mark is a head that visual tokens compute, an open one is only read, no mark: dropped.",
                  L, H),
      440, top + height * double(L) + 40};
  Rows rows{{"layer", "head", "ratio", "visual tokens"}};
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
      rows.push_back(
          {std::to_string(l), std::to_string(h), data.ratio.empty() ? "-" : fmt::format("{:.4f}", ratio), use});
    }
  }
  for (size_t h = 0; h < H; h += step_of(H))
    chart.text(kLeft + cell * (double(h) + 0.5), top + height * double(L) + 14, std::to_string(h), "middle");
  chart.text((kLeft + kRight) / 2, top + height * double(L) + 31, "head", "middle");
  chart.upright(12, top + height * double(L) / 2, "decoder layer");
  std::string legend;
  if (most > 0)
    for (int s = 0; s < kShades; ++s)
      legend += key(fmt::format("h{}", s), fmt::format("from {:.2g}", most * s / kShades));
  if (!data.layers.empty()) legend += key("m-updated", "computed and read") + key("m-read", "only read");
  return figure(chart, legend, rows,
                data.ratio.empty()
                    ? "Without statistics: kept heads alone."
                    : "Attention mass on visual keys over mass on all others, mean over calibration samples.");
}

std::string kept_by_layer(const ReportData& data) {
  const size_t L = data.layers.size();
  if (L == 0 || data.all_neurons == 0) return "";
  const double top = 10, bottom = 180, most = double(data.all_neurons);
  Chart chart{"FFN neurons that visual tokens use, by layer",
              fmt::format("Of {} neurons in each of {} layers.", data.all_neurons, L), 440, 220};
  value_axis(chart, top, bottom, most, "neurons");
  Rows rows{{"layer", "neurons", "heads read", "heads computed", "window", "rank"}};
  for (size_t l = 0; l < L; ++l) {
    const KeptLayer& layer = data.layers[l];
    const double kept = double(std::max<int64_t>(layer.neurons, 0)), w = bar_width(L), x = layer_x(l, L) - w / 2;
    chart.box(x, top, w, bottom - top, "all");
    chart.box(x, bottom - (bottom - top) * kept / most, w, (bottom - top) * kept / most, "a",
              fmt::format("layer {}: {:.0f} of {} neurons", l, kept, data.all_neurons));
    const auto updated = std::count(layer.heads.begin(), layer.heads.end(), HeadUse::Updated);
    const auto read = updated + std::count(layer.heads.begin(), layer.heads.end(), HeadUse::Read);
    rows.push_back({std::to_string(l), fmt::format("{:.0f}", kept), std::to_string(read), std::to_string(updated),
                    layer.window.empty() ? "none" : layer.window, layer.rank < 0 ? "-" : std::to_string(layer.rank)});
  }
  layer_axis(chart, L, bottom);
  return figure(chart, key("a", "kept") + key("all", "all"), rows,
                "What the plan keeps for visual tokens; text always uses everything.");
}

std::string flops_by_part(const ReportData& data) {
  if (data.dense.empty()) return "";
  FlopParts sums[2];
  for (const auto& [side, layers] : {std::pair(0, &data.dense), std::pair(1, &data.pruned)})
    for (const FlopParts& one : *layers) {
      sums[side].projections += one.projections, sums[side].attention += one.attention;
      sums[side].ffn += one.ffn, sums[side].compensation += one.compensation;
    }
  const double whole = std::max(sums[0].sum(), 1.0);
  Chart chart{"Visual FLOPs of a prompt by part, dense and pruned",
              fmt::format("Dense {:.1f} MFLOPs, pruned {:.1f} MFLOPs.", sums[0].sum() / 1e6, sums[1].sum() / 1e6), 440,
              132};
  Rows rows{{"part", "dense (MFLOPs)", "pruned (MFLOPs)", "kept"}};
  static constexpr std::tuple<const char*, double FlopParts::*, const char*> parts[] = {
      {"projections (q, k, v, o)", &FlopParts::projections, "a"},
      {"attention", &FlopParts::attention, "b"},
      {"FFN", &FlopParts::ffn, "c"},
      {"compensation", &FlopParts::compensation, "d"}};
  std::string legend;
  for (int side = 0; side < 2; ++side) {
    double x = 62;
    chart.text(56, 31 + 42 * side, side == 0 ? "dense" : "pruned", "end");
    for (const auto& [name, member, style] : parts) {
      const double w = (kRight - 62) * (sums[side].*member) / whole;
      chart.box(x, 12 + 42 * side, w, 28, style, fmt::format("{}: {:.2f} MFLOPs", name, sums[side].*member / 1e6));
      x += w;
    }
  }
  for (int i = 0; i <= 4; ++i)
    chart.text(62 + (kRight - 62) * i / 4, 102, fmt::format("{} %", 25 * i), i == 4 ? "end" : "middle");
  chart.text((62 + kRight) / 2, 122, "share of the dense visual FLOPs", "middle");
  for (const auto& [name, member, style] : parts) {
    legend += key(style, name);
    const double d = sums[0].*member, p = sums[1].*member;
    rows.push_back(
        {name, fmt::format("{:.2f}", d / 1e6), fmt::format("{:.2f}", p / 1e6), d > 0 ? percent(p / d) : "-"});
  }
  rows.push_back({"sum", fmt::format("{:.2f}", sums[0].sum() / 1e6), fmt::format("{:.2f}", sums[1].sum() / 1e6),
                  percent(sums[1].sum() / whole)});
  return figure(chart, legend, rows, fmt::format("Exact convention, mean over {}.", data.prompts));
}

std::string loss_by_flops(const ReportData& data) {
  const Json& provenance = data.plan_provenance;
  const bool searched = provenance.is_object() && provenance.contains("search") && provenance["search"].is_object();
  struct Point {
    double x, y;
    const char* style;
    std::string name;
  };
  std::vector<Point> points;
  for (const MeasuredPlan& plan : data.search)
    points.push_back({plan.flops, plan.kl, plan.all_samples ? "m-seen" : "m-few", ""});
  for (const MeasuredPlan& plan : data.sweep) points.push_back({plan.flops, plan.kl, "m-sweep", "sweep"});
  for (const Control& control : data.controls)
    if (control.kl) points.push_back({control.flops, *control.kl, "m-control", control.name});
  if (searched && data.counted && provenance["search"].contains("kl") && provenance["search"]["kl"].is_number())
    points.push_back({*data.counted, provenance["search"]["kl"].get<double>(), "m-chosen", "chosen"});
  std::erase_if(points, [](const Point& p) { return !(p.x > 0) || !(p.y > 0); });
  if (points.empty()) return "";
  double low = points[0].y, high = low, left = points[0].x, right = left;
  for (const Point& p : points) {
    low = std::min(low, p.y), high = std::max(high, p.y);
    left = std::min(left, p.x), right = std::max(right, p.x);
  }
  low = std::pow(10, std::floor(std::log10(low))), high = std::pow(10, std::floor(std::log10(high)) + 1);
  left = std::max(0.0, left - 0.02), right = std::min(std::max(right + 0.02, left + 0.05), std::max(right, 1.0));
  const double top = 10, bottom = 230;
  const auto at_x = [&](double x) { return kLeft + (kRight - kLeft) * (x - left) / (right - left); };
  const auto at_y = [&](double y) { return bottom - (bottom - top) * std::log(y / low) / std::log(high / low); };
  Chart chart{"KL against visual FLOPs",
              fmt::format("{} measured plans; KL from {:.3g} to {:.3g} nats, logarithmic.", points.size(), low, high),
              440, 270};
  for (double y = low; y <= high * 1.001; y *= 10) {
    chart.line(kLeft, at_y(y), kRight, at_y(y), "grid");
    chart.text(kLeft - 6, at_y(y) + 4, fmt::format("{:g}", y), "end");
  }
  for (int i = 0; i <= 4; ++i) {
    const double x = left + (right - left) * i / 4;
    chart.text(at_x(x), bottom + 18, percent(x), i == 4 ? "end" : "middle");
  }
  chart.line(kLeft, bottom, kRight, bottom, "axis");
  chart.text((kLeft + kRight) / 2, bottom + 36, "visual FLOPs, share of dense", "middle");
  chart.upright(12, (top + bottom) / 2, "KL to dense (nats an answer)");
  std::vector<Point> sorted = points;
  for (const Point& p : points)
    chart.dot(at_x(p.x), at_y(p.y), p.name.empty() ? 2.5 : 5.5, p.style,
              p.name.empty() ? "" : fmt::format("{}: {} of the FLOPs, KL {:.4g}", p.name, percent(p.x), p.y));
  std::stable_sort(sorted.begin(), sorted.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  Rows rows{{"plan", "visual FLOPs", "KL"}};
  double best = INFINITY;
  for (const Point& p : sorted) {
    const bool front = std::string_view(p.style) == "m-seen" && p.y < best;
    if (front) best = p.y;
    if (front || !p.name.empty())
      rows.push_back({p.name.empty() ? "best of the search so far" : p.name, percent(p.x), fmt::format("{:.4g}", p.y)});
  }
  std::string legend;
  if (!data.search.empty())
    legend += key("m-seen", "measured by the search") + key("m-few", "on a part of the samples");
  if (searched) legend += key("m-chosen", "chosen");
  if (!data.controls.empty()) legend += key("m-control", "control");
  if (!data.sweep.empty()) legend += key("m-sweep", "sweep");
  return figure(chart, legend, rows,
                "On calibration samples; the table has the chosen plan, controls, and the lower edge of what the "
                "search measured.");
}

std::string controls(const ReportData& data) {
  std::vector<std::string> benchmarks;
  for (const Control& control : data.controls)
    for (const ControlScore& score : control.scores)
      if (std::find(benchmarks.begin(), benchmarks.end(), score.benchmark) == benchmarks.end())
        benchmarks.push_back(score.benchmark);
  std::string out, absent;
  for (const Control& control : data.controls)
    if (control.scores.empty())
      absent += fmt::format("<li>{}: {}</li>", html_text(control.name), html_text(control.note));
  for (const std::string& benchmark : benchmarks) {
    double low = 1;
    Rows rows{{"plan", "visual FLOPs", "score", "share of dense", "95 % interval", "note"}};
    for (const Control& control : data.controls)
      for (const ControlScore& s : control.scores)
        if (s.benchmark == benchmark) {
          low = std::min({low, s.low, s.kept});
          rows.push_back({control.name, percent(control.flops), fmt::format("{:.4f}", s.score), percent(s.kept),
                          fmt::format("{} to {}", percent(s.low), percent(s.high)), control.note});
        }
    low = std::max(0.0, std::floor(low * 20) / 20);
    const double high = 1.05, from = 190, bottom = 12 + 20 * double(rows.size() - 1);
    const auto at = [&](double v) { return from + (kRight - from) * (std::clamp(v, low, high) - low) / (high - low); };
    Chart chart{fmt::format("{}: share of the dense score, by plan", benchmark),
                "Dots with 95 % intervals; the line marks the dense model.", 440, bottom + 42};
    chart.line(at(1), 6, at(1), bottom, "axis");
    double y = 20;
    for (const Control& control : data.controls)
      for (const ControlScore& s : control.scores)
        if (s.benchmark == benchmark) {
          chart.text(from - 8, y + 4, control.name.substr(0, 27), "end");
          chart.line(at(s.low), y, at(s.high), y, "whisker");
          chart.dot(at(s.kept), y, 4.5, control.name == "solver" ? "m-chosen" : "m-control",
                    fmt::format("{}: {}", control.name, percent(s.kept)));
          y += 20;
        }
    for (int i = 0; i <= 4; ++i)
      chart.text(at(low + (high - low) * i / 4), bottom + 16,
                 fmt::format("{:.0f} %", 100 * (low + (high - low) * i / 4)), i == 4 ? "end" : "middle");
    chart.text((from + kRight) / 2, bottom + 34, "share of the dense score", "middle");
    out += figure(chart, key("m-chosen", "solver") + key("m-control", "controls"), rows,
                  fmt::format("Accuracy on {} at the visual FLOPs of the table.", benchmark));
  }
  if (!absent.empty()) out += fmt::format("<div><p>Not among them:</p><ul>{}</ul></div>", absent);
  return out;
}

std::string compensation(const ReportData& data) {
  const size_t L = data.layers.size();
  int64_t most = 0;
  bool any = false;
  for (const KeptLayer& layer : data.layers) most = std::max(most, layer.rank), any = any || layer.rank >= 0;
  if (!any && data.gains.empty()) return "";
  const double top = 10, bottom = 150, scale = rounded_up(double(std::max<int64_t>(most, 1)));
  Chart chart{"Rank of the compensation by layer", fmt::format("Highest rank {}.", most), 440, 190};
  value_axis(chart, top, bottom, scale, "rank");
  Rows rows{{"layer", "rank", "measured step of the rank", "loss before", "loss after", "gain"}};
  for (size_t l = 0; l < L; ++l) {
    const double w = bar_width(L), h = (bottom - top) * double(std::max<int64_t>(data.layers[l].rank, 0)) / scale;
    chart.box(layer_x(l, L) - w / 2, bottom - h, w, h, "d", fmt::format("layer {}: rank {}", l, data.layers[l].rank));
    std::vector<std::string> row{
        std::to_string(l), data.layers[l].rank < 0 ? "none" : std::to_string(data.layers[l].rank), "-", "-", "-", "-"};
    for (const RankGain& gain : data.gains)
      if (gain.layer == int64_t(l))
        row = {row[0],
               row[1],
               fmt::format("{} to {}", gain.from < 0 ? "none" : std::to_string(gain.from), gain.to),
               fmt::format("{:.5f}", gain.before),
               fmt::format("{:.5f}", gain.after),
               fmt::format("{:+.5f}", gain.before - gain.after)};
    rows.push_back(row);
  }
  layer_axis(chart, L, bottom);
  return figure(chart, key("d", "rank"), rows,
                "The table has what raising one layer's rank alone did to the loss, where the search measured it; "
                "files hold no other gain by layer.");
}

}  // namespace yopo::html
