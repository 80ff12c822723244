#include "report/axes.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace yopo::html {
namespace {

constexpr double kLine = 14;  // between labels

std::string short_name(const std::string& name) { return name.size() <= 17 ? name : name.substr(0, 15) + "..."; }

/// Labels as near to their points as they fit between `top` and `bottom`, in one column.
void draw_labels(Chart& chart, std::vector<std::pair<double, const Point*>> at, double column, double top,
                 double bottom, const std::vector<std::pair<double, double>>& dots) {
  std::vector<size_t> order(at.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return at[a].first < at[b].first; });
  double next = top + 4;
  for (const size_t i : order) next = (at[i].first = std::max(at[i].first, next)) + kLine;
  double last = bottom - 2;
  for (size_t i = order.size(); i-- > 0;) last = (at[order[i]].first = std::min(at[order[i]].first, last)) - kLine;
  for (size_t i = 0; i < at.size(); ++i) {
    chart.line(dots[i].first, dots[i].second, column - 4, at[i].first, "thin");
    chart.text(column, at[i].first + 4, short_name(at[i].second->label));
  }
}

}  // namespace

size_t step_of(size_t count) { return count <= 16 ? 1 : count <= 32 ? 4 : 8; }
double layer_x(size_t l, size_t count) { return kLeft + (kRight - kLeft) * (double(l) + 0.5) / double(count); }
double bar_width(size_t count) { return std::max(2.0, (kRight - kLeft) / double(count) * 0.7); }

void layer_axis(Chart& chart, size_t count, double y) {
  chart.line(kLeft, y, kRight, y, "axis");
  for (size_t l = 0; l < count; l += step_of(count)) chart.text(layer_x(l, count), y + 15, std::to_string(l), "middle");
  chart.text((kLeft + kRight) / 2, y + 32, "decoder layer", "middle");
}

double rounded_up(double value) {
  const double base = std::pow(10, std::floor(std::log10(std::max(value, 1e-12))));
  for (const double factor : {1.0, 2.0, 2.5, 5.0, 10.0})
    if (value <= factor * base * (1 + 1e-9)) return factor * base;
  return 10 * base;
}

std::vector<double> ticks(double low, double high) {
  const double step = rounded_up(std::max(high - low, 1e-9) / 5);
  std::vector<double> all;
  for (double i = std::ceil(low / step - 1e-9) + 0.0; i * step <= high + step * 1e-9; ++i)
    all.push_back(i * step + 0.0);
  return all;
}

void value_axis(Chart& chart, double top, double bottom, double most, const std::string& name) {
  for (const double value : ticks(0, most)) {
    const double y = bottom - (bottom - top) * value / most;
    chart.line(kLeft, y, kRight, y, "grid");
    chart.text(kLeft - 6, y + 4, fmt::format("{:.6g}", value), "end");
  }
  chart.upright(12, (top + bottom) / 2, name);
}

std::pair<double, std::string> scaled(double value, const std::string& unit) {
  static constexpr std::pair<double, const char*> prefixes[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  for (const auto& [size, prefix] : prefixes)
    if (value >= size) return {1 / size, prefix + unit};
  return {1, unit};
}

void draw_cloud(Chart& chart, const Cloud& cloud) {
  const std::vector<Point>& points = cloud.points;
  const size_t labels =
      size_t(std::count_if(points.begin(), points.end(), [](const Point& p) { return !p.label.empty(); }));
  const double top = 10, bottom = std::max(230.0, top + kLine * double(labels)), end = labels > 0 ? 300 : kRight;
  double low = points[0].y, high = low, left = points[0].x, right = left;
  for (const Point& p : points) {
    low = std::min(low, p.y), high = std::max(high, p.y);
    left = std::min(left, p.x), right = std::max(right, p.x);
  }
  const double room = std::max(0.02, (right - left) / 20);
  left = std::max(0.0, left - room), right += room;
  if (cloud.logarithmic) {
    low = std::pow(10, std::floor(std::log10(low))), high = std::pow(10, std::floor(std::log10(high)) + 1);
  } else {
    if (cloud.line > 0) low = std::min(low, cloud.line), high = std::max(high, cloud.line);
    const double step = rounded_up(std::max(high - low, 0.01) / 5);
    low = std::max(0.0, std::floor((low - step / 4) / step) * step), high += step / 4;
  }
  const auto at_x = [&](double x) { return kLeft + (end - kLeft) * (x - left) / (right - left); };
  const auto at_y = [&](double y) {
    const double part = cloud.logarithmic ? std::log(y / low) / std::log(high / low) : (y - low) / (high - low);
    return bottom - (bottom - top) * part;
  };
  std::vector<double> values;
  if (cloud.logarithmic)
    for (double y = low; y <= high * 1.001; y *= 10) values.push_back(y);
  else
    values = ticks(low, high);
  for (const double y : values) {
    chart.line(kLeft, at_y(y), end, at_y(y), "grid");
    chart.text(kLeft - 6, at_y(y) + 4, cloud.logarithmic ? fmt::format("{:g}", y) : fmt::format("{:.3g} %", 100 * y),
               "end");
  }
  for (const double x : ticks(left, right))
    chart.text(at_x(x), bottom + 18, fmt::format("{:.3g} %", 100 * x), "middle");
  chart.line(kLeft, bottom, end, bottom, "axis");
  if (cloud.line > 0) {
    chart.line(kLeft, at_y(cloud.line), end, at_y(cloud.line), "axis");
    chart.text(kLeft + 4, at_y(cloud.line) + 14, "dense");
  }
  chart.text((kLeft + end) / 2, bottom + 36, "visual FLOPs, share of dense", "middle");
  chart.upright(12, (top + bottom) / 2, cloud.y_name);
  std::vector<std::pair<double, const Point*>> named;
  std::vector<std::pair<double, double>> dots;
  for (const Point& p : points)
    if (!p.label.empty()) named.emplace_back(at_y(p.y), &p), dots.emplace_back(at_x(p.x), at_y(p.y));
  draw_labels(chart, named, end + 14, top, bottom, dots);
  for (const bool large : {false, true})
    for (const Point& p : points)
      if (large == !p.label.empty()) chart.dot(at_x(p.x), at_y(p.y), large ? 5 : 2.5, p.style, p.hint);
  chart.height = bottom + 42;
}

}  // namespace yopo::html
