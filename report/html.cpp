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
                      : fmt::format("<td>{}</td>", html_text(rows[r][c]));
    out += r == 0 ? "</tr></thead><tbody>\n" : "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string figure(const Chart& chart, const std::string& legend, const Rows& rows, const std::string& caption) {
  return fmt::format(
      "<figure><svg role=\"img\" viewBox=\"0 0 {:.0f} {:.0f}\"><title>{}</title><desc>{}</desc>\n{}</svg>\n"
      "<p "
      "class=\"legend\">{}</p><figcaption>{}</figcaption>\n<details><summary>Numbers</summary>\n{}</details></"
      "figure>\n",
      chart.width, chart.height, html_text(chart.title), html_text(chart.description), chart.body, legend,
      html_text(caption, 2000), table(rows));
}

std::string key(std::string_view style, const std::string& words) {
  return fmt::format("<span><svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\">{}</svg>{}</span> ",
                     style.starts_with("m-") ? fmt::format("<circle class=\"{}\" cx=\"6\" cy=\"6\" r=\"4\"/>", style)
                                             : fmt::format("<rect class=\"{}\" width=\"12\" height=\"12\"/>", style),
                     html_text(words));
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

std::string style_sheet() {
  return R"(
:root{color-scheme:light dark;--paper:#fff;--card:#f6f7f9;--ink:#1b1f24;--soft:#535c68;--rule:#cfd5dc;
--a:#0060a8;--b:#b35900;--c:#3f7d3c;--d:#8a4a9e;--faint:#7d8896;
--h0:#eef4fb;--h1:#cfe1f2;--h2:#a3c7e6;--h3:#69a5d4;--h4:#3a7fbd;--h5:#1c5a9c;--h6:#0b376b}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--card:#1d2127;--ink:#e8ebef;--soft:#a9b2be;--rule:#3a424d;
--a:#6db3f2;--b:#f0a04b;--c:#8ccb86;--d:#cf9be0;--faint:#7d8896;
--h0:#1c2733;--h1:#1f3d5c;--h2:#245684;--h3:#3273ae;--h4:#5a97cf;--h5:#92bfe8;--h6:#d2e6f8}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.6rem;margin:0 0 4px}h2{font-size:1.2rem;margin:40px 0 8px;border-top:1px solid var(--rule);padding-top:16px}
p{max-width:72ch}.soft,figcaption{color:var(--soft);font-size:.9rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:20px 0}
.tile{background:var(--card);border-radius:8px;padding:12px 14px}.tile b{display:block;font-size:1.25rem;line-height:1.3}
.tile span{color:var(--soft);font-size:.85rem}
.pair{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:16px}
figure{margin:0;background:var(--card);border-radius:8px;padding:12px;min-width:0}
figure>svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:var(--ink)}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;margin:6px 0;font-size:.85rem}.legend:empty{display:none}
.key{width:12px;height:12px;margin-right:5px;vertical-align:-1px;overflow:visible}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:3px 12px 3px 0;text-align:left;border-bottom:1px solid var(--rule);vertical-align:top;white-space:nowrap}
summary{cursor:pointer;color:var(--a)}pre{overflow-x:auto;background:var(--card);padding:12px;border-radius:8px;font-size:.82rem}
.a{fill:var(--a)}.b{fill:var(--b)}.c{fill:var(--c)}.d{fill:var(--d)}
.all{fill:none;stroke:var(--rule)}.axis{stroke:var(--soft)}.grid{stroke:var(--rule)}.whisker{stroke:var(--a);stroke-width:2}
.m-seen{fill:var(--faint);fill-opacity:.35}.m-few{fill:none;stroke:var(--faint);stroke-opacity:.35}
.m-chosen{fill:var(--b);stroke:var(--paper)}.m-control{fill:var(--a);stroke:var(--paper)}.m-sweep{fill:var(--c);stroke:var(--paper)}
.m-updated{fill:#000;stroke:#fff;stroke-width:1.2}.m-read{fill:#fff;stroke:#000;stroke-width:1.2}
.h0{fill:var(--h0)}.h1{fill:var(--h1)}.h2{fill:var(--h2)}.h3{fill:var(--h3)}.h4{fill:var(--h4)}.h5{fill:var(--h5)}.h6{fill:var(--h6)}
.flips{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:14px}
.flip{background:var(--card);border-radius:8px;padding:10px;font-size:.88rem;overflow-wrap:anywhere}
.flip img{max-width:100%;height:auto;display:block;margin-bottom:6px}.flip p{margin:2px 0}
@media (max-width:480px){main{padding:16px 10px}h1{font-size:1.3rem}.tiles{grid-template-columns:1fr 1fr}.flips{grid-template-columns:1fr 1fr}}
@media print{:root{color-scheme:light}body{font-size:11pt}figure,.tile,.flip{break-inside:avoid;border:1px solid #bbb}details{display:none}}
)";
}

}  // namespace html
}  // namespace yopo
