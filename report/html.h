// Pieces of the page: figures, tables, and charts as SVG. All text that comes in is escaped here.
#pragma once

#include <string>
#include <vector>

#include "report/data.h"

namespace yopo::html {

using Rows = std::vector<std::vector<std::string>>;  // the first is the head

/// A chart under construction; colours are classes of the page's style sheet, so that both themes have their own.
struct Chart {
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

std::string table(const Rows& rows);
/// A chart that a screen reader can follow, with its numbers below it.
std::string figure(const Chart& chart, const std::string& legend, const Rows& rows, const std::string& caption);
/// "<span class=key ...>": what a class of marks means.
std::string key(std::string_view style, const std::string& words);
std::string percent(double share);

std::string style_sheet();
std::string ratio_map(const ReportData& data);
std::string kept_by_layer(const ReportData& data);
std::string flops_by_part(const ReportData& data);
std::string loss_by_flops(const ReportData& data);
std::string controls(const ReportData& data);
std::string compensation(const ReportData& data);

}  // namespace yopo::html
