#include <cmath>
#include <map>

#include "core/error.h"
#include "core/values.h"
#include "report/data.h"

namespace yopo {
namespace {

/// The plan of a journal's key "RANKING /STRIDE 8.2.48.3.16 8.0..."; empty for a key of another kind.
LevelCounts levels_of(std::string_view text, size_t layers) {
  LevelCounts levels;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::vector<int64_t>& one = levels.emplace_back();
    while (true) {
      const size_t dot = std::min(word.find('.'), word.size());
      int64_t value = 0;
      if (!parse_decimal(word.substr(0, dot), value) || value < -1 || value > (int64_t(1) << 40)) return {};
      one.push_back(value);
      if (dot == word.size()) break;
      word.remove_prefix(dot + 1);
    }
    if (one.size() != 5) return {};
  }
  return levels.size() == layers ? levels : LevelCounts();
}

struct Known {
  LevelCounts levels;
  std::string setting;  // ranking and stride
  double loss = 0;
};

void add_gains(const std::vector<Known>& known, ReportData& into) {
  for (size_t l = 0; l < into.layers.size(); ++l) {
    std::map<std::pair<std::string, LevelCounts>, std::vector<std::pair<int64_t, double>>> alike;
    for (const Known& one : known) {
      LevelCounts rest = one.levels;
      const int64_t rank = rest[l][4];
      rest[l][4] = 0;
      alike[{one.setting, rest}].emplace_back(rank, one.loss);
    }
    std::optional<RankGain> best;
    for (const auto& [rest, ranks] : alike)
      for (const auto& [from, before] : ranks)
        for (const auto& [to, after] : ranks)
          if (from < to && (!best || std::min(before, after) < std::min(best->before, best->after)))
            best = RankGain{int64_t(l), from, to, before, after};
    if (best) into.gains.push_back(*best);
  }
}

}  // namespace

void read_search(const fs::path& file, double (*cost)(const LevelCounts&, const void*), const void* with,
                 ReportData& into) {
  const std::string text = read_text(file);
  std::vector<Known> known;
  int64_t line = 0;
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    const std::string where = fmt::format("{}:{}", file.string(), ++line);
    const Json record = parse_json(std::string_view(text).substr(at, end - at), where);
    if (line == 1) {
      (void)get_string(record, "search", where);
      continue;
    }
    const std::string key = get_string(record, "key", where);
    MeasuredPlan plan{0, get_number(record, "loss", where), get_number(record, "kl", where)};
    require(std::isfinite(plan.loss) && std::isfinite(plan.kl), "{}: expected finite numbers", where);
    const size_t slash = key.find(" /"), stride = slash == std::string::npos ? slash : key.find(' ', slash + 2);
    if (stride == std::string::npos) continue;
    const LevelCounts levels = levels_of(std::string_view(key).substr(stride + 1), into.layers.size());
    if (levels.empty()) continue;
    plan.all_samples = key.substr(slash, stride - slash) == " /1";
    if (plan.all_samples) known.push_back({levels, key.substr(0, stride), plan.loss});
    plan.flops = cost(levels, with);
    if (plan.flops > 0) into.search.push_back(plan);
  }
  add_gains(known, into);
}

void read_controls(const fs::path& file, ReportData& into) {
  const Json json = read_json(file);
  const std::string where = file.string();
  for (const Json& point : get_array(json, "points", where)) {
    const std::string place = fmt::format("{}: points: {}", where, into.controls.size());
    Control control{get_string(point, "name", place), get_string_or(point, "note", place, "")};
    if (has(point, "seed")) control.name += fmt::format(" {}", get_int(point, "seed", place, 0, INT64_MAX));
    control.flops = get_number_or(point, "visual_flops", place, 0);  // null: the budget cannot be met
    if (has(point, "kl")) control.kl = get_number(point, "kl", place);
    if (has(point, "benchmarks"))
      for (const auto& [name, score] : get_object(point, "benchmarks", place).items()) {
        const std::string own = fmt::format("{}: benchmarks: {}", place, name);
        if (!has(score, "score") || !has(score, "kept")) continue;  // without answers to score by
        ControlScore one{name, get_number(score, "score", own), get_number(score, "kept", own)};
        const Json& interval = get_array(score, "interval", own);
        require(interval.size() == 2 && interval[0].is_number() && interval[1].is_number(),
                "{}: interval: expected two numbers", own);
        // Of the score in the file; of the share here.
        const double share = one.score > 0 ? one.kept / one.score : 0;
        one.low = share * interval[0].get<double>(), one.high = share * interval[1].get<double>();
        control.scores.push_back(one);
      }
    into.controls.push_back(std::move(control));
  }
}

void read_sweep(const fs::path& file, ReportData& into) {
  const Json json = read_json(file);
  const Json& points = get_array(json, "points", file.string());
  for (size_t i = 0; i < points.size(); ++i) {
    const std::string where = fmt::format("{}: points: {}", file.string(), i);
    into.sweep.push_back({get_number(points[i], "visual_flops", where), get_number(points[i], "loss", where),
                          get_number(points[i], "kl", where)});
  }
}

}  // namespace yopo
