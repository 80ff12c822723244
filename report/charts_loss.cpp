// What a plan's FLOPs buy: KL and accuracy of the chosen plan, of what the search measured, and of controls.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "report/axes.h"

namespace yopo::html {
namespace {

/// compare.json calls the recipe's own plan so.
bool is_chosen(const Control& control) { return control.name == "solver"; }
std::string control_name(const Control& control) { return is_chosen(control) ? "chosen" : control.name; }
const char* control_style(const Control& control) { return is_chosen(control) ? "m-chosen" : "m-control"; }

void add_legend(Figure& figure, const std::vector<Point>& points,
                std::initializer_list<std::pair<const char*, const char*>> styles) {
  for (const auto& [style, words] : styles)
    if (std::any_of(points.begin(), points.end(),
                    [wanted = std::string_view(style)](const Point& p) { return wanted == p.style; }))
      figure.legend.emplace_back(style, words);
}

std::vector<std::string> benchmarks_of(const std::vector<Control>& controls) {
  std::vector<std::string> names;
  for (const Control& control : controls)
    for (const ControlScore& score : control.scores)
      if (std::find(names.begin(), names.end(), score.benchmark) == names.end()) names.push_back(score.benchmark);
  return names;
}

/// Of one benchmark against FLOPs.
Figure accuracy_of_controls(const ReportData& data, const std::string& benchmark) {
  Cloud cloud{{}, false, "share of the dense score", 1};
  Figure figure{
      {"accuracy-" + benchmark, benchmark + ": score against visual FLOPs", "The line is the dense model's score."},
      {},
      {{"plan", "visual FLOPs", "share of dense"}},
      ""};
  for (const Control& control : data.controls)
    for (const ControlScore& s : control.scores)
      if (s.benchmark == benchmark && control.flops > 0) {
        cloud.points.push_back({control.flops, s.kept, control_style(control), control_name(control),
                                fmt::format("{}: {} of the FLOPs, {} of the score", control.name,
                                            percent(control.flops), percent(s.kept))});
        figure.rows.push_back({control_name(control), percent(control.flops), percent(s.kept)});
      }
  if (cloud.points.empty()) return figure;
  draw_cloud(figure.chart, cloud);
  add_legend(figure, cloud.points, {{"m-chosen", "chosen"}, {"m-control", "control"}});
  figure.caption = fmt::format("Accuracy on {}, as a share of the dense model's.", benchmark);
  return figure;
}

/// Of one benchmark by plan, with intervals.
Figure intervals_of_controls(const ReportData& data, const std::string& benchmark) {
  double low = 1, high = 1;
  Figure figure{{"controls-" + benchmark, benchmark + ": score by plan, with 95 % intervals",
                 "Dots with 95 % intervals; the line marks the dense model."},
                {{"m-chosen", "chosen"}, {"m-control", "control"}},
                {{"plan", "visual FLOPs", "score", "share of dense", "95 % interval", "note"}},
                fmt::format("Accuracy on {}; behind each name its visual FLOPs.", benchmark)};
  for (const Control& control : data.controls)
    for (const ControlScore& s : control.scores)
      if (s.benchmark == benchmark) {
        low = std::min({low, s.low, s.kept}), high = std::max({high, s.high, s.kept});
        figure.rows.push_back({control_name(control), percent(control.flops), fmt::format("{:.4f}", s.score),
                               percent(s.kept), fmt::format("{} to {}", percent(s.low), percent(s.high)),
                               control.note});
      }
  const double step = rounded_up(std::max(high - low, 0.01) / 5);
  low = std::max(0.0, std::floor(low / step) * step), high += step / 8;
  const double from = 176, bottom = 12 + 20 * double(figure.rows.size() - 1);
  const auto at = [&](double v) { return from + (kRight - from) * (std::clamp(v, low, high) - low) / (high - low); };
  Chart& chart = figure.chart;
  chart.height = bottom + 42;
  for (const double value : ticks(low, high)) {
    chart.line(at(value), 6, at(value), bottom, "grid");
    chart.text(at(value), bottom + 16, fmt::format("{:.3g} %", 100 * value), "middle");
  }
  chart.line(at(1), 6, at(1), bottom, "axis");
  double y = 20;
  for (const Control& control : data.controls)
    for (const ControlScore& s : control.scores)
      if (s.benchmark == benchmark) {
        const std::string name = control_name(control);
        chart.text(from - 8, y + 4,
                   fmt::format("{}, {}", name.size() <= 17 ? name : name.substr(0, 15) + "...", percent(control.flops)),
                   "end");
        chart.line(at(s.low), y, at(s.high), y, "whisker");
        chart.dot(at(s.kept), y, 4.5, control_style(control), fmt::format("{}: {}", control.name, percent(s.kept)));
        y += 20;
      }
  chart.text((from + kRight) / 2, bottom + 34, "share of the dense score", "middle");
  return figure;
}

/// The chosen plan on every benchmark, where there are no controls.
Figure accuracy_of_run(const ReportData& data) {
  Cloud cloud{{}, false, "share of the dense score", 1};
  Figure figure{{"accuracy", "Score against visual FLOPs", "The line is the dense model's score."},
                {{"m-chosen", "chosen"}},
                {{"benchmark", "visual FLOPs", "share of dense"}},
                "Each benchmark's score, as a share of the dense model's."};
  for (const ScoreRow& row : data.scores) {
    if (!(row.dense > 0)) continue;
    cloud.points.push_back({*data.counted, row.pruned / row.dense, "m-chosen", row.benchmark,
                            fmt::format("{}: {}", row.benchmark, percent(row.pruned / row.dense))});
    figure.rows.push_back({row.benchmark, percent(*data.counted), percent(row.pruned / row.dense)});
  }
  if (!cloud.points.empty()) draw_cloud(figure.chart, cloud);
  return figure;
}

}  // namespace

Figures loss_of_search(const ReportData& data) {
  const Json& provenance = data.plan_provenance;
  const bool searched = provenance.is_object() && provenance.contains("search") && provenance["search"].is_object();
  Cloud cloud{{}, true, "KL to dense (nats an answer)"};
  for (const MeasuredPlan& plan : data.search)
    cloud.points.push_back({plan.flops, plan.kl, plan.all_samples ? "m-seen" : "m-few"});
  const auto add = [&](double flops, double kl, const char* style, const std::string& name) {
    cloud.points.push_back(
        {flops, kl, style, name, fmt::format("{}: {} of the FLOPs, KL {:.4g}", name, percent(flops), kl)});
  };
  for (const MeasuredPlan& plan : data.sweep)
    add(plan.flops, plan.kl, "m-sweep", fmt::format("budget {:.3g} %", 100 * plan.flops));
  if (searched && data.counted && provenance["search"].contains("kl") && provenance["search"]["kl"].is_number())
    add(*data.counted, provenance["search"]["kl"].get<double>(), "m-chosen", "chosen");
  std::erase_if(cloud.points, [](const Point& p) { return !(p.x > 0) || !(p.y > 0); });
  if (cloud.points.empty()) return {};
  Figure figure{{"search", "KL against visual FLOPs: what the search measured",
                 fmt::format("{} measured plans, KL in nats, logarithmic.", cloud.points.size())},
                {},
                {{"plan", "visual FLOPs", "KL"}},
                "On the search's calibration prompts. Of the plans near the best, the chosen one is that which prompts "
                "held out from the search like best. The table has it, and the lower edge of what was measured."};
  draw_cloud(figure.chart, cloud);
  std::vector<Point> sorted = cloud.points;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  double best = INFINITY;
  for (const Point& p : sorted) {
    const bool front = std::string_view(p.style) == "m-seen" && p.y < best;
    if (front) best = p.y;
    if (front || !p.label.empty())
      figure.rows.push_back(
          {p.label.empty() ? "best of the search so far" : p.label, percent(p.x), fmt::format("{:.4g}", p.y)});
  }
  add_legend(figure, cloud.points,
             {{"m-seen", "measured by the search"},
              {"m-few", "on a part of the prompts"},
              {"m-chosen", "chosen"},
              {"m-sweep", "chosen for another budget"}});
  return {figure};
}

Figures loss_of_controls(const ReportData& data) {
  Cloud cloud{{}, true, "KL to dense (nats an answer)"};
  Figure figure{{"controls", "KL against visual FLOPs: chosen plan and controls", "KL in nats, logarithmic."},
                {},
                {{"plan", "visual FLOPs", "KL", "note"}},
                "By `yopo compare`, on the same calibration samples for all plans; those of the search are others."};
  for (const Control& control : data.controls)
    if (control.kl && *control.kl > 0 && control.flops > 0) {
      cloud.points.push_back(
          {control.flops, *control.kl, control_style(control), control_name(control),
           fmt::format("{}: {} of the FLOPs, KL {:.4g}", control.name, percent(control.flops), *control.kl)});
      figure.rows.push_back(
          {control_name(control), percent(control.flops), fmt::format("{:.4g}", *control.kl), control.note});
    }
  if (cloud.points.empty()) return {};
  draw_cloud(figure.chart, cloud);
  add_legend(figure, cloud.points, {{"m-chosen", "chosen"}, {"m-control", "control"}});
  return {figure};
}

Figures accuracy(const ReportData& data) {
  Figures all;
  const std::vector<std::string> names = benchmarks_of(data.controls);
  for (const std::string& benchmark : names) {
    all.push_back(accuracy_of_controls(data, benchmark));
    all.push_back(intervals_of_controls(data, benchmark));
  }
  if (names.empty() && data.counted && !data.scores.empty()) all.push_back(accuracy_of_run(data));
  std::erase_if(all, [](const Figure& figure) { return figure.rows.size() < 2 || figure.chart.body.empty(); });
  return all;
}

}  // namespace yopo::html
