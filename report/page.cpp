#include "core/error.h"
#include "core/version.h"
#include "formats/base64.h"
#include "report/html.h"

namespace yopo {
namespace {

using namespace html;

std::string tile(const std::string& value, const std::string& name) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", html_text(value), html_text(name));
}

std::string score_text(const ScoreRow& row, double value) {
  return row.points ? fmt::format("{:.1f}", value) : percent(value);
}

std::string interval_text(const ScoreRow& row) {
  if (!row.low) return "not known";
  return row.points ? fmt::format("{:+.1f} to {:+.1f}", *row.low, *row.high)
                    : fmt::format("{:+.1f} to {:+.1f} points", 100 * *row.low, 100 * *row.high);
}

/// A number of comparison.json, which has been checked.
double measured(const ReportData& data, const char* side, const char* name) {
  return data.comparison.at(side).at(name).get<double>();
}

std::string summary(const ReportData& data) {
  std::string out = "<div class=\"tiles\">\n";
  if (!data.budget.empty()) out += tile(data.budget, "budget: " + data.budget_of);
  if (data.counted) out += tile(percent(*data.counted), "visual FLOPs counted (exact)");
  if (!data.scores.empty()) {
    const ScoreRow& row = data.scores.front();
    out += tile(score_text(row, row.dense) + " to " + score_text(row, row.pruned),
                fmt::format("{}, dense to pruned{}", row.benchmark,
                            row.low ? fmt::format(" ({}, 95 %)", interval_text(row)) : ""));
  }
  if (!data.comparison.is_null()) {
    out += tile(percent(measured(data, "pruned", "kv_bytes") / std::max(1.0, measured(data, "dense", "kv_bytes"))),
                "KV cache kept");
    out += tile(fmt::format("{:.2f} to {:.2f} ms", measured(data, "dense", "prefill_ms"),
                            measured(data, "pruned", "prefill_ms")),
                "prefill, dense to pruned");
  }
  if (data.verify.is_object()) out += tile(data.verify.value("passed", false) ? "passed" : "FAILED", "verify");
  return out + "</div>\n";
}

/// A section, or where it has nothing to show what makes it.
std::string section(const std::string& title, const std::string& body, const std::string& how) {
  return fmt::format("<section><h2>{}</h2>\n{}</section>\n", html_text(title),
                     body.empty() ? fmt::format("<p class=\"soft\">{}</p>\n", html_text(how)) : body);
}

std::string scores(const ReportData& data) {
  if (data.scores.empty()) return "";
  Rows rows{
      {"benchmark", "scored", "dense", "pruned", "share kept", "95 % interval of the difference", "answers changed"}};
  for (const ScoreRow& row : data.scores)
    rows.push_back({row.benchmark + ": " + row.headline, std::to_string(row.count), score_text(row, row.dense),
                    score_text(row, row.pruned), row.dense > 0 ? percent(row.pruned / row.dense) : "-",
                    interval_text(row), row.low ? std::to_string(row.changed) : "-"});
  return table(rows);
}

std::string budgets(const ReportData& data) {
  if (data.budgets.empty()) return "";
  Rows rows{{"budget", "visual FLOPs"}};
  for (const ScoreRow& row : data.budgets.front().scores) {
    rows[0].push_back(row.benchmark + ": " + row.headline);
    rows[0].push_back("share kept");
  }
  for (const BudgetRow& one : data.budgets) {
    auto& row = rows.emplace_back();
    row = {one.budget + (one.fallback ? " (default)" : ""), one.flops ? percent(*one.flops) : "-"};
    for (const ScoreRow& score : one.scores) {
      row.push_back(score_text(score, score.pruned));
      row.push_back(score.dense > 0 ? percent(score.pruned / score.dense) : "-");
    }
  }
  return "<p class=\"soft\">The checkpoint runs any of these budgets (--budget); FLOPs are of the prompts searched "
         "on.</p>" +
         table(rows);
}

std::string flips(const ReportData& data) {
  std::string out;
  for (const ShownFlip& flip : data.flips) {
    const int64_t larger = std::max<int64_t>(1, 128 / std::max<int64_t>({1, flip.width, flip.height}));
    out += "<div class=\"flip\">";
    if (!flip.image.empty())
      out +=
          fmt::format("<img alt=\"image of question {}\" width=\"{}\" height=\"{}\" src=\"data:image/png;base64,{}\">",
                      html_text(flip.id), flip.width * larger, flip.height * larger, encode_base64(flip.image));
    out += fmt::format("<p><b>{}</b> {} {}</p><p>{}</p><p>dense: {}</p><p>pruned: {}</p>{}</div>\n",
                       flip.lost ? "Right to wrong" : "Wrong to right", html_text(flip.benchmark), html_text(flip.id),
                       html_text(flip.question), html_text(flip.before), html_text(flip.after),
                       flip.expected.empty() ? "" : fmt::format("<p>expected: {}</p>", html_text(flip.expected)));
  }
  return out.empty() ? ""
                     : "<p class=\"soft\">Some of the answers that changed sides, the first of each benchmark.</p><div "
                       "class=\"flips\">\n" +
                           out + "</div>\n";
}

std::string provenance(const ReportData& data) {
  Rows rows{{"what", "value"}, {"this page by", fmt::format("yopo {}", tool_version)}};
  if (!data.model.empty()) rows.push_back({"model", data.model});
  if (!data.statistics_fingerprint.empty())
    rows.push_back({"statistics", fmt::format("{} samples; {}", data.statistics_samples, data.statistics_fingerprint)});
  if (data.verify.is_object())
    for (const Json& check : data.verify.value("checks", Json::array()))
      rows.push_back({"verify: " + check.value("name", ""),
                      fmt::format("{} (value {}, limit {})", check.value("passed", false) ? "passed" : "FAILED",
                                  check.at("value").dump(), check.at("limit").dump())});
  std::string out = table(rows);
  if (data.plan_provenance.is_object())
    out += fmt::format("<details><summary>Provenance of the plan</summary><pre>{}</pre></details>\n",
                       html_text(data.plan_provenance.dump(2, ' ', false, Json::error_handler_t::replace), 100'000));
  if (!data.recipe.empty())
    out += fmt::format(
        "<details><summary>Recipe with all defaults (its seed is that of every "
        "choice)</summary><pre>{}</pre></details>\n",
        html_text(data.recipe, 100'000));
  out += "<p class=\"soft\">No file of a run records a date, so none is here.</p>\n";
  for (const std::string& note : data.notes)
    out += fmt::format("<p class=\"soft\">Not read: {}</p>\n", html_text(note));
  return out;
}

}  // namespace

std::string report_page(const ReportData& data) {
  const std::string run = "Not here yet: `yopo run RECIPE` makes it.";
  const auto all = [&](std::initializer_list<Figures (*)(const ReportData&)> charts) {
    Figures together;
    for (const auto chart : charts)
      for (Figure& figure : chart(data)) together.push_back(std::move(figure));
    return figures(together);
  };
  std::string curves = all({loss_of_search, loss_of_controls, accuracy}), absent;
  for (const Control& control : data.controls)
    if (control.scores.empty())
      absent += fmt::format("<li>{}: {}</li>", html_text(control.name), html_text(control.note));
  if (!absent.empty())
    curves += fmt::format("<p class=\"soft\">Not among the controls:</p><ul class=\"soft\">{}</ul>", absent);
  std::string curve_notes;
  if (data.controls.empty()) curve_notes += "Controls at equal FLOPs are not here: `yopo compare RECIPE` makes them. ";
  if (data.sweep.empty())
    curve_notes += "Other budgets are not here: `yopo plan RECIPE --sweep 0.5,0.25,0.12,0.06` makes them. ";
  if (data.search.empty())
    curve_notes += "Plans measured by a search are not here: `yopo run` with plan.budget makes them.";
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
         "'unsafe-inline'\">\n"
         "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n" +
         fmt::format(
             "<title>yopo report: {}</title>\n<style>{}</style></head>\n<body><main>\n<h1>{}</h1>\n<p "
             "class=\"soft\">{}</p>\n",
             html_text(data.folder), style_sheet(), html_text(data.folder), html_text(data.model)) +
         summary(data) + section("Accuracy", scores(data) + budgets(data), run) +
         section(
             "Loss and accuracy against FLOPs",
             curves +
                 (curve_notes.empty() || curves.empty() ? "" : "<p class=\"soft\">" + html_text(curve_notes) + "</p>"),
             curve_notes) +
         section("What is kept", all({ratio_map, kept_by_layer}),
                 "Not here yet: `yopo calibrate RECIPE` and `yopo plan RECIPE` make it; neurons need the model's "
                 "config.json.") +
         section("Where FLOPs went, and bytes and times", all({flops_by_part, bytes_and_times}),
                 "Not here yet: `yopo run RECIPE` makes it; it needs the model's config.json.") +
         section("Compensation", all({compensation}), "This plan has none, or there is no plan.") +
         section("Answers that changed", flips(data),
                 "None to show: `yopo run RECIPE` makes the answers, and the questions of the recipe must be where it "
                 "says.") +
         section("Provenance", provenance(data), run) + "</main></body></html>\n";
}

}  // namespace yopo
