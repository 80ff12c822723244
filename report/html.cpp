#include "report/html.h"

#include "core/error.h"
#include "core/utf8.h"

namespace yopo {

std::string html_text(std::string_view text, size_t most) {
  size_t kept = std::min(most, text.size());
  while (kept < text.size() && kept > 0 && (uint8_t(text[kept]) & 0xC0) == 0x80) --kept;
  std::string safe = escaped_lines(text.substr(0, kept)), out;
  if (kept < text.size()) safe += "...";
  for (const char c : safe) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += c;
  }
  return out;
}

namespace html {

namespace {
constexpr size_t kWords = 12;  // letters; longer cells of tables are broken into lines

std::string hinted(const std::string& hint) {
  return hint.empty() ? "/>" : fmt::format("><title>{}</title>", html_text(hint));
}
}  // namespace

void Chart::box(double x, double y, double w, double h, std::string_view style, const std::string& hint) {
  body += fmt::format("<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"{}{}\n", style, x,
                      y, w, h, hinted(hint), hint.empty() ? "" : "</rect>");
}
void Chart::line(double x1, double y1, double x2, double y2, std::string_view style) {
  body += fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", style, x1, y1,
                      x2, y2);
}
void Chart::dot(double x, double y, double r, std::string_view style, const std::string& hint) {
  body += fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"{}{}\n", style, x, y, r,
                      hinted(hint), hint.empty() ? "" : "</circle>");
}
void Chart::text(double x, double y, const std::string& words, std::string_view anchor) {
  body += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, html_text(words));
}
void Chart::upright(double x, double y, const std::string& words) {
  body += fmt::format("<text transform=\"translate({:.1f} {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n", x,
                      y, html_text(words));
}

std::string table(const Rows& rows) {
  std::string out = "<div class=\"wide\"><table>\n";
  for (size_t r = 0; r < rows.size(); ++r) {
    out += r == 0 ? "<thead><tr>" : "<tr>";
    for (size_t c = 0; c < rows[r].size(); ++c)
      out += r == 0   ? fmt::format("<th scope=\"col\">{}</th>", html_text(rows[r][c]))
             : c == 0 ? fmt::format("<th scope=\"row\">{}</th>", html_text(rows[r][c]))
                      : fmt::format("<td{}>{}</td>", rows[r][c].size() > kWords ? " class=\"words\"" : "",
                                    html_text(rows[r][c]));
    out += r == 0 ? "</tr></thead><tbody>\n" : "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string mark(std::string_view style) {
  return style.starts_with("m-") ? fmt::format("<circle class=\"{}\" cx=\"6\" cy=\"6\" r=\"4\"/>", style)
                                 : fmt::format("<rect class=\"{}\" width=\"12\" height=\"12\"/>", style);
}

std::string figures(const Figures& all) {
  if (all.empty()) return "";
  std::string out = "<div class=\"pair\">";
  for (const Figure& figure : all) {
    const Chart& chart = figure.chart;
    std::string legend;
    for (const auto& [style, words] : figure.legend)
      legend += fmt::format("<span><svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\">{}</svg>{}</span> ",
                            mark(style), html_text(words));
    out += fmt::format(
        "<figure><h3>{}</h3><svg role=\"img\" viewBox=\"0 0 {:.0f} {:.0f}\"><title>{}</title><desc>{}</desc>\n{}"
        "</svg>\n<p class=\"legend\">{}</p><figcaption>{}</figcaption>\n<details><summary>Numbers</summary>\n{}"
        "</details></figure>\n",
        html_text(chart.title), chart.width, chart.height, html_text(chart.title), html_text(chart.description),
        chart.body, legend, html_text(figure.caption, 2000), table(figure.rows));
  }
  return out + "</div>";
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

}  // namespace html
}  // namespace yopo
