// Colours and layout of the page, and of charts that stand by themselves.
#include "core/error.h"
#include "report/html.h"

namespace yopo::html {
namespace {

struct Colour {
  const char *name, *light, *dark;
};
constexpr Colour kColours[] = {
    {"paper", "#ffffff", "#14171b"}, {"card", "#f6f7f9", "#1d2127"}, {"ink", "#1b1f24", "#e8ebef"},
    {"soft", "#535c68", "#a9b2be"},  {"rule", "#cfd5dc", "#3a424d"}, {"a", "#0060a8", "#6db3f2"},
    {"b", "#b35900", "#f0a04b"},     {"c", "#3f7d3c", "#8ccb86"},    {"d", "#8a4a9e", "#cf9be0"},
    {"faint", "#7d8896", "#7d8896"}, {"all", "#e1e5ea", "#343b45"},  {"h0", "#eef4fb", "#1c2733"},
    {"h1", "#cfe1f2", "#1f3d5c"},    {"h2", "#a3c7e6", "#245684"},   {"h3", "#69a5d4", "#3273ae"},
    {"h4", "#3a7fbd", "#5a97cf"},    {"h5", "#1c5a9c", "#92bfe8"},   {"h6", "#0b376b", "#d2e6f8"},
};

/// var(--NAME) is one of the colours above.
constexpr const char* kCharts =
    R"(.a{fill:var(--a)}.b{fill:var(--b)}.c{fill:var(--c)}.d{fill:var(--d)}.all{fill:var(--all)}
.axis{stroke:var(--soft)}.grid{stroke:var(--rule)}.thin{stroke:var(--faint);stroke-width:.6}.whisker{stroke:var(--a);stroke-width:2}
.m-seen{fill:var(--faint);fill-opacity:.45}.m-few{fill:none;stroke:var(--faint);stroke-opacity:.45}
.m-chosen{fill:var(--b);stroke:var(--card)}.m-control{fill:var(--a);stroke:var(--card)}.m-sweep{fill:var(--c);stroke:var(--card)}
.m-updated{fill:#f08a1c;stroke:#000;stroke-width:1.2}.m-read{fill:#fff;stroke:#000;stroke-width:1.2}
.h0,.h1,.h2,.h3,.h4,.h5,.h6{stroke:var(--rule);stroke-width:.5}
.h0{fill:var(--h0)}.h1{fill:var(--h1)}.h2{fill:var(--h2)}.h3{fill:var(--h3)}.h4{fill:var(--h4)}.h5{fill:var(--h5)}.h6{fill:var(--h6)}
)";

}  // namespace

std::string light_chart_style() {
  std::string style = kCharts;
  for (const Colour& colour : kColours) {
    const std::string variable = fmt::format("var(--{})", colour.name);
    for (size_t at = style.find(variable); at != std::string::npos; at = style.find(variable, at))
      style.replace(at, variable.size(), colour.light);
  }
  return style + fmt::format("text{{font:12px sans-serif;fill:{}}}.title{{font-weight:bold;font-size:14px}}\n",
                             kColours[2].light);
}

std::string style_sheet() {
  std::string light, dark;
  for (const Colour& colour : kColours) {
    light += fmt::format("--{}:{};", colour.name, colour.light);
    dark += fmt::format("--{}:{};", colour.name, colour.dark);
  }
  return fmt::format(
             "\n:root{{color-scheme:light dark;{}}}\n"
             "@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n",
             light, dark) +
         R"(*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.6rem;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:40px 0 8px;border-top:1px solid var(--rule);padding-top:16px}
h3{font-size:.95rem;margin:0 0 6px;line-height:1.3}
p{max-width:72ch;overflow-wrap:anywhere}.soft,figcaption{color:var(--soft);font-size:.9rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:20px 0}
.tile{background:var(--card);border-radius:8px;padding:12px 14px}.tile b{display:block;font-size:1.2rem;line-height:1.3}
.tile span{display:block;color:var(--soft);font-size:.85rem;line-height:1.35;margin-top:2px}
.pair{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:16px}
figure{margin:0;background:var(--card);border-radius:8px;padding:12px;min-width:0}
figure>svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:var(--ink)}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;margin:6px 0;font-size:.85rem}.legend:empty{display:none}
.key{width:12px;height:12px;margin-right:5px;vertical-align:-1px;overflow:visible}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:3px 12px 3px 0;text-align:left;border-bottom:1px solid var(--rule);vertical-align:top}
td{white-space:nowrap}td.words{white-space:normal;overflow-wrap:anywhere;min-width:5.5em}
summary{cursor:pointer;color:var(--a)}pre{overflow-x:auto;background:var(--card);padding:12px;border-radius:8px;font-size:.82rem}
)" + kCharts +
         R"(.flips{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:14px}
.flip{background:var(--card);border-radius:8px;padding:10px;font-size:.88rem;overflow-wrap:anywhere}
.flip img{max-width:100%;height:auto;display:block;margin-bottom:6px}.flip p{margin:2px 0}
@media (max-width:480px){main{padding:16px 10px}h1{font-size:1.3rem}figure{padding:10px 6px}
.tiles,.flips{grid-template-columns:1fr 1fr}th,td{padding-right:8px;font-size:.78rem}tbody th{min-width:6em}}
@media print{:root{color-scheme:light}body{font-size:10pt}main{max-width:none;padding:0}figure,.tile,.flip,tr{break-inside:avoid}
figure,.tile,.flip{border:1px solid #bbb}h2,h3,section>p{break-after:avoid}.pair{grid-template-columns:1fr 1fr}
.tiles{grid-template-columns:repeat(3,1fr)}.flips{grid-template-columns:repeat(5,1fr)}.flip{font-size:8pt}details{display:none}}
)";
}

}  // namespace yopo::html
