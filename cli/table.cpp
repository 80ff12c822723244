#include "cli/table.h"

#include <algorithm>

namespace yopo::cli {

namespace {

std::string percent(double value) { return fmt::format("{:.1f} %", 100 * value); }

std::string headline_text(const EvaluationResult& result) {
  if (!result.scored) return "-";
  return result.points ? fmt::format("{:.1f}", result.score) : percent(result.score);
}

double category(const EvaluationResult& result, const std::string& name) {
  for (const auto& [known, value] : result.categories)
    if (known == name) return value;
  throw InternalError("dense and pruned results have other categories");
}

}  // namespace

std::string format_table(const std::vector<std::vector<std::string>>& cells) {
  std::vector<std::vector<std::string>> rows = cells;
  // Ids and categories come out of files; a line end in one would look like a row.
  for (auto& row : rows)
    for (std::string& cell : row) cell = escaped(cell);
  std::vector<size_t> widths;
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) {
      if (c == widths.size()) widths.push_back(0);
      widths[c] = std::max(widths[c], row[c].size());
    }
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < rows[r].size(); ++c)
      line += c == 0 ? fmt::format("{:<{}}", rows[r][c], widths[c]) : fmt::format("  {:>{}}", rows[r][c], widths[c]);
    while (!line.empty() && line.back() == ' ') line.pop_back();
    text += line + "\n";
    if (r == 0) {
      size_t total = 2 * (widths.size() - 1);
      for (size_t width : widths) total += width;
      text += std::string(total, '-') + "\n";
    }
  }
  return text;
}

std::string score_text(const EvaluationResult& result, double value) {
  return result.points ? fmt::format("{:.1f}", value) : fmt::format("{:.4f}", value);
}

std::string run_table(const std::vector<EvaluationResult>& results, const Comparison& comparison) {
  std::vector<std::vector<std::string>> rows{{"", "dense", "pruned", "pruned / dense"}};
  for (size_t i = 0; i + 1 < results.size(); i += 2) {
    const EvaluationResult &dense = results[i], &pruned = results[i + 1];
    const auto text = [&](double value) { return dense.points ? fmt::format("{:.1f}", value) : percent(value); };
    const auto add = [&](const std::string& name, double d, double p) {
      rows.push_back({fmt::format("{}: {}", dense.benchmark, name), text(d), text(p), d > 0 ? percent(p / d) : "-"});
    };
    const Benchmark& benchmark = benchmark_named(dense.benchmark);
    for (const auto& [name, value] : dense.categories)
      if (in_table(benchmark, name)) add(name, value, category(pruned, name));
    const std::string headline = fmt::format("{}, {} scored", benchmark.headline, dense.count);
    if (dense.scored)
      add(headline, dense.score, pruned.score);
    else
      rows.push_back({fmt::format("{}: {} answered, not scored: no labels", dense.benchmark, dense.count)});
  }
  const auto &d = comparison.dense, &p = comparison.pruned;
  rows.push_back(
      {"visual FLOPs (paper)", "100.0 %", percent(comparison.paper_fraction), percent(comparison.paper_fraction)});
  rows.push_back(
      {"visual FLOPs (exact)", "100.0 %", percent(comparison.exact_fraction), percent(comparison.exact_fraction)});
  rows.push_back({"prefill MFLOPs (exact, text included)", fmt::format("{:.1f}", d.prefill_flops / 1e6),
                  fmt::format("{:.1f}", p.prefill_flops / 1e6), percent(comparison.exact_total_fraction)});
  rows.push_back({"KV cache (bytes a prompt)", fmt::format("{:.0f}", d.kv_bytes), fmt::format("{:.0f}", p.kv_bytes),
                  percent(p.kv_bytes / d.kv_bytes)});
  rows.push_back({"prefill (ms, batch 1)", fmt::format("{:.2f}", d.prefill_ms), fmt::format("{:.2f}", p.prefill_ms),
                  percent(p.prefill_ms / d.prefill_ms)});
  rows.push_back({"decode (ms a token, batch 1)", fmt::format("{:.3f}", d.decode_ms),
                  fmt::format("{:.3f}", p.decode_ms), percent(p.decode_ms / d.decode_ms)});
  return format_table(rows);
}

std::string budget_table(const std::vector<BudgetSummary>& budgets) {
  std::vector<std::vector<std::string>> rows{{"budget", "visual FLOPs"}};
  const std::vector<EvaluationResult>& first = budgets.front().evaluation;
  rows.push_back({"dense", "100.0 %"});
  for (size_t i = 0; i + 1 < first.size(); i += 2) {
    rows[0].push_back(fmt::format("{}: {}", first[i].benchmark, benchmark_named(first[i].benchmark).headline));
    rows[0].emplace_back("of dense");
    rows[1].push_back(headline_text(first[i]));
    rows[1].emplace_back("");
  }
  for (const BudgetSummary& one : budgets) {
    std::vector<std::string>& row = rows.emplace_back();
    row = {one.budget + (one.fallback ? " (default)" : ""), percent(one.visual_flops)};
    for (size_t i = 0; i + 1 < one.evaluation.size(); i += 2) {
      const EvaluationResult &dense = one.evaluation[i], &pruned = one.evaluation[i + 1];
      row.push_back(headline_text(pruned));
      row.push_back(dense.scored && pruned.scored && dense.score > 0 ? percent(pruned.score / dense.score) : "-");
    }
  }
  return format_table(rows);
}

}  // namespace yopo::cli
