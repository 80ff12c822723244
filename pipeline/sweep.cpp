#include "pipeline/sweep.h"

#include <chrono>

#include "core/error.h"
#include "core/progress.h"

namespace yopo {
namespace {

/// The seconds that the file has for the same point.
Json seconds_before(const Json& before, const Json& point) {
  if (!before.is_object() || !has(before, "points") || !before["points"].is_array()) return {};
  for (Json old : before["points"]) {
    if (!old.is_object() || !old.contains("seconds")) continue;
    Json seconds = old["seconds"];
    old.erase("seconds");
    if (old == point) return seconds;
  }
  return {};
}

std::string percent(const Json& value) {
  return value.is_number() ? fmt::format("{:.1f} %", 100 * value.get<double>()) : "-";
}

}  // namespace

Json sweep(const Recipe& recipe, const OpenModel& model, const Statistics& statistics, const RunSettings& settings,
           const OutputFiles& files, const std::vector<std::string>& budgets) {
  const fs::path folder = files.plan.parent_path() / "sweep", file = folder / "sweep.json";
  if (leads(settings.ranks)) fs::create_directories(folder);
  const Json before = fs::exists(file) ? read_json(file) : Json();
  Json all = Json::object();
  all["points"] = Json::array();
  for (const std::string& budget : budgets) {
    Recipe own = recipe;
    own.plan = PlanOptions();
    own.plan->budget = Budget{Budget::Kind::Flops, std::stod(budget)};
    OutputFiles into = files;
    into.plan = folder / fmt::format("plan-{}.json", budget);
    into.head_mask = folder / fmt::format("headmask-{}.npy", budget);
    note(fmt::format("sweep: budget {}", budget));
    const bool there = fs::exists(into.plan);
    const auto start = std::chrono::steady_clock::now();
    const Plan plan = plan_stage(own, model, statistics, settings, into);
    if (!leads(settings.ranks)) continue;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const Json& search = plan.provenance.at("search");
    Json point = Json::object();
    for (const char* key : {"budget", "visual_flops", "loss", "kl", "same", "held_out", "evaluations"})
      point[key] = search.contains(key) ? search[key] : Json();
    const Json known = there ? seconds_before(before, point) : Json();
    point["seconds"] = known.is_number() ? known : Json(seconds);
    all["points"].push_back(std::move(point));
    write_json(file, all);
  }
  return all;
}

std::vector<std::vector<std::string>> sweep_rows(const Json& sweep) {
  std::vector<std::vector<std::string>> rows{
      {"budget", "visual FLOPs", "loss", "KL", "answers kept, held out", "evaluations", "seconds"}};
  for (const Json& point : sweep.at("points")) {
    const Json& held_out = point.at("held_out");
    const Json& from = held_out.is_object() ? held_out : point;
    const auto number = [](const Json& value, const char* format) {
      return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>()) : "-";
    };
    rows.push_back({number(point.at("budget"), "{}"), percent(point.at("visual_flops")),
                    number(from.at("loss"), "{:.4f}"), number(from.at("kl"), "{:.4f}"),
                    held_out.is_object() ? percent(held_out.at("same")) : "-",
                    number(point.at("evaluations"), "{:.0f}"), number(point.at("seconds"), "{:.0f}")});
  }
  return rows;
}

}  // namespace yopo
