// Pieces of the page: figures, tables, and charts as SVG. All text that comes in is escaped here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "report/data.h"

namespace yopo::html {

using Rows = std::vector<std::vector<std::string>>;  // the first is the head

/// A chart under construction; colours are classes of the page's style sheet, so that both themes have their own.
struct Chart {
  std::string name;  // of its picture's file
  std::string title, description;
  double width = 440, height = 0;
  std::string body = {};
  void box(double x, double y, double w, double h, std::string_view style, const std::string& hint = "");
  void line(double x1, double y1, double x2, double y2, std::string_view style);
  void dot(double x, double y, double r, std::string_view style, const std::string& hint = "");
  /// anchor: start, middle or end.
  void text(double x, double y, const std::string& words, std::string_view anchor = "start");
  void upright(double x, double y, const std::string& words);  // turned, reads upwards
};

/// What a class of marks means: its style and the words.
using Key = std::pair<std::string, std::string>;

/// A chart with its legend, its numbers as a table, and what there is to know about them.
struct Figure {
  Chart chart;
  std::vector<Key> legend;
  Rows rows;
  std::string caption;
};
using Figures = std::vector<Figure>;

std::string table(const Rows& rows);
/// Charts that a screen reader can follow, side by side, their numbers below each; nothing for none.
std::string figures(const Figures& all);
/// The figure by itself: an SVG file in the light theme's colours, without its table.
std::string picture(const Figure& figure);
std::string mark(std::string_view style);  // of a legend, 12 x 12
std::string percent(double share);

std::string style_sheet();
/// The part of it that charts need, for programs that know no variables.
std::string light_chart_style();

/// Each is empty where its data are not there.
Figures ratio_map(const ReportData& data);
Figures kept_by_layer(const ReportData& data);
Figures compensation(const ReportData& data);
Figures flops_by_part(const ReportData& data);
Figures bytes_and_times(const ReportData& data);
Figures loss_of_search(const ReportData& data);
Figures loss_of_controls(const ReportData& data);
Figures accuracy(const ReportData& data);

}  // namespace yopo::html
