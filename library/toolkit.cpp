#include <optional>

#include "calibration/calibrate.h"
#include "compress/make_plan.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "exporters/export.h"
#include "exporters/report.h"
#include "library/boundary.h"
#include "pipeline/recipe.h"
#include "pipeline/stages.h"
#include "yopo/yopo.h"

namespace yopo {
inline namespace v0 {
namespace {

void need(const std::filesystem::path& path, const char* name) { require(!path.empty(), "{} is missing", name); }

/// The section `plan` of a recipe of nothing else.
PlanOptions plan_options(const std::vector<std::string>& keep) {
  std::vector<std::string> overrides;
  overrides.reserve(keep.size());
  for (const std::string& setting : keep) overrides.push_back("plan." + setting);
  return parse_recipe("model: x\noutput: x\n", "PlanSettings::keep", overrides).plan.value_or(PlanOptions());
}

}  // namespace

std::int64_t calibrate(const CalibrateSettings& settings) {
  return library::at_boundary([&] {
    need(settings.model, "CalibrateSettings::model");
    need(settings.questions, "CalibrateSettings::questions");
    need(settings.output, "CalibrateSettings::output");
    const StopWish wish(settings.stop);
    CalibrationRun run;
    run.dtype = settings.dtype;
    run.threads = settings.threads;
    run.memory = settings.memory;
    run.seed = settings.seed;
    run.prompts.chat_template = settings.chat_template;
    run.options.dataset.format = settings.format;
    run.options.dataset.questions = settings.questions;
    run.options.dataset.images = settings.images;
    run.options.dataset.samples = settings.samples;
    run.options.queries = parse_queries(settings.queries, "CalibrateSettings::queries");
    return yopo::calibrate(open_model(settings.model), run, settings.output).samples();
  });
}

std::string plan(const PlanSettings& settings) {
  return library::at_boundary([&] {
    need(settings.model, "PlanSettings::model");
    need(settings.output, "PlanSettings::output");
    const StopWish wish(settings.stop);
    const ModelSpec spec = spec_of(settings.model);
    const PlanOptions options = plan_options(settings.keep);
    require(!options.budget, "PlanSettings::keep: budget: a search runs the model on samples: call search_plan");
    require(!settings.statistics.empty() || !needs_statistics(options),
            "PlanSettings::statistics is missing: heads or neurons are chosen by it");
    const Statistics statistics =
        settings.statistics.empty() ? no_statistics(spec.text) : statistics_for(settings.model, settings.statistics);
    const Plan made = make_plan(statistics, options, spec.text, "PlanSettings");
    write_plan(settings.output, made);
    return report_text(report(made, spec, typical_prompt(spec), running_type(spec)));
  });
}

ExportReport export_pruned(const ExportSettings& settings) {
  return library::at_boundary([&] {
    need(settings.model, "ExportSettings::model");
    need(settings.plan, "ExportSettings::plan");
    need(settings.output, "ExportSettings::output");
    const StopWish wish(settings.stop);
    Companions told = export_checkpoint(open_model(settings.model), read_plan(settings.plan), settings.output,
                                        {settings.shard_size, settings.transformers_code});
    ExportReport made{std::move(told.copied), std::move(told.derived), {}};
    for (LeftOut& one : told.left_out) made.left_out.emplace_back(std::move(one.path), std::move(one.why));
    return made;
  });
}

}  // namespace v0
}  // namespace yopo
