// Charts that stand by themselves, as SVG files for programs that draw them.
#include <algorithm>

#include "core/error.h"
#include "report/html.h"

namespace yopo {
namespace html {

std::string picture(const Figure& figure) {
  const Chart& chart = figure.chart;
  constexpr double margin = 20, title = 30, line = 18, letter = 6.8;  // a letter's width at 12 pixels, on average
  std::string legend;
  double x = 0, y = title + chart.height + 14;
  for (const auto& [style, words] : figure.legend) {
    const double width = 18 + letter * double(words.size()) + 12;
    if (x > 0 && x + width > chart.width) x = 0, y += line;
    legend += fmt::format("<g transform=\"translate({:.1f} {:.1f})\">{}<text x=\"17\" y=\"10.5\">{}</text></g>\n", x,
                          y - 10, mark(style), html_text(words));
    x += width;
  }
  const double width = chart.width + 2 * margin, height = y + (figure.legend.empty() ? 0 : line) + margin;
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} "
      "{1:.0f}\">\n"
      "<style>{2}</style>\n<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"#fff\"/>\n"
      "<g transform=\"translate({3} {3})\"><text class=\"title\" y=\"8\">{4}</text>\n"
      "<g transform=\"translate(0 {5})\">{6}</g>\n{7}</g></svg>\n",
      width, height, light_chart_style(), margin, html_text(chart.title), title, chart.body, legend);
}

}  // namespace html

std::vector<ReportPicture> report_pictures(const ReportData& data) {
  std::vector<ReportPicture> pictures;
  for (const auto charts : {html::loss_of_search, html::loss_of_controls, html::accuracy, html::ratio_map,
                            html::kept_by_layer, html::flops_by_part, html::compensation, html::bytes_and_times})
    for (const html::Figure& figure : charts(data)) {
      // Names of benchmarks are foreign.
      std::string name = figure.chart.name.substr(0, 60), own;
      for (char& c : name)
        if (!std::isalnum(uint8_t(c)) && c != '-' && c != '_') c = '_';
      own = name;
      const auto taken = [&](const ReportPicture& one) { return one.name == own; };
      for (int i = 2; std::any_of(pictures.begin(), pictures.end(), taken); ++i) own = fmt::format("{}-{}", name, i);
      pictures.push_back({own, html::picture(figure)});
    }
  return pictures;
}

}  // namespace yopo
