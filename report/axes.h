// Axes and clouds of points for charts.
#pragma once

#include "report/html.h"

namespace yopo::html {

inline constexpr double kLeft = 52, kRight = 416;  // of the plot, with room for the last number's half

/// Every how many layers or heads an axis has a number.
size_t step_of(size_t count);
double layer_x(size_t l, size_t count);
double bar_width(size_t count);
void layer_axis(Chart& chart, size_t count, double y);

/// A round number not below `value`.
double rounded_up(double value);
/// Round numbers from `low` to `high`, some five.
std::vector<double> ticks(double low, double high);
/// From 0 at `bottom` to `most` at `top`.
void value_axis(Chart& chart, double top, double bottom, double most, const std::string& name);
/// A number and its unit with a prefix of thousands: 8.37e12 FLOPs are {1e-12, "TFLOPs"}.
std::pair<double, std::string> scaled(double value, const std::string& unit);

/// A point of a cloud; one with a label is large and named beside the plot, at the end of a thin line.
struct Point {
  double x = 0, y = 0;
  const char* style = "";
  std::string label = {}, hint = {};
};
/// What lies between the axes of a cloud: x are shares of the dense visual FLOPs.
struct Cloud {
  std::vector<Point> points;
  bool logarithmic = false;  // y in decades; else y are shares
  std::string y_name;
  double line = 0;  // across the plot at this y, named "dense"; 0: none
};
/// Draws it and sets the chart's height.
void draw_cloud(Chart& chart, const Cloud& cloud);

}  // namespace yopo::html
